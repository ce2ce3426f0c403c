"""A plan in Markdown: what MLflow shows as the description of a run."""

from collections.abc import Mapping, Sequence
from typing import Any

from tlpipe.plan_table import line, notes

LONGEST_NOTE = 4500
"""Characters; MLflow takes 5,000."""


def plan_note(account: Mapping[str, Any]) -> str:
    """Summary, totals and rows of `strategies.counting.account`; rows that would make it too long are left out."""
    facts = "\n".join(f"- {each}" for each in notes(account))
    said = f"**The plan**: {line(account)}\n\n{facts}\n\n{_markdown(account['totals'], LONGEST_NOTE // 3)}\n\n"
    return said + _markdown(account["rows"], LONGEST_NOTE - len(said))


def _markdown(rows: Sequence[Mapping[str, Any]], longest: int) -> str:
    lines = ["| " + " | ".join(rows[0]) + " |", "|" + " --- |" * len(rows[0])]
    for row in rows:
        cells = "| " + " | ".join(_cell(value, row) for value in row.values()) + " |"
        if sum(map(len, lines)) + len(lines) + len(cells) > longest:
            lines += ["", "The rest is in the artifacts of the run."]
            break
        lines.append(cells)
    return "\n".join(lines)


def _cell(value: Any, row: Mapping[str, Any]) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return "frozen" if row["trainable"] is False else "none"
    return f"{value:,}" if isinstance(value, int) else f"{value:.2g}" if isinstance(value, float) else str(value)
