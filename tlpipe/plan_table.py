"""A plan as a table for people: what trains in which phase, at which rate, and how many parameters that is."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from tlpipe.strategies.plan import HEAD, Phase, Plan

PHASES_A_TABLE = 6
"""A staged unfreeze of a deep network has dozens of phases: tables follow each other instead of growing wide."""


def rate(value: float | None) -> str:
    """A learning rate to three digits: `1e-4`, `3.33e-5`; `frozen` for None."""
    if value is None:
        return "frozen"
    digits, exponent = f"{value:.2e}".split("e")
    return f"{digits.rstrip('0').rstrip('.')}e{int(exponent)}"


def summary(plan: Plan, counts: Mapping[str, int]) -> dict[str, Any]:
    """strategy, start, phases, epochs (at most), parameters, trainable (most in any phase) and their ratio.

    A plan without phases hands on the head stage's model: what was trained there is the head.
    """
    total = sum(counts[group] for group in (*plan.groups, HEAD))
    trainable = max((trained(phase, counts) for phase in plan.phases), default=counts[HEAD])
    return {
        "strategy": plan.strategy,
        "start": plan.start,
        "phases": len(plan.phases),
        "epochs": sum(phase.epochs for phase in plan.phases),
        "parameters": total,
        "trainable": trainable,
        "ratio": trainable / total,
    }


def trained(phase: Phase, counts: Mapping[str, int]) -> int:
    """Parameters that train in one phase."""
    return sum(counts[group] for group in phase.trainable)


def line(plan: Plan, counts: Mapping[str, int]) -> str:
    """The summary in one line."""
    facts = summary(plan, counts)
    share = f"{facts['trainable']:,} of {facts['parameters']:,} parameters train ({facts['ratio']:.2%})"
    if not plan.phases:
        return f"{share}, in the head stage alone"
    start = {"head": "the head stage's model", "random": "random weights"}[plan.start]
    word = "phase" if facts["phases"] == 1 else "phases"
    return f"{share}, from {start}, {facts['phases']} {word}, at most {facts['epochs']} epochs"


def render(plan: Plan, counts: Mapping[str, int], title: str | None = None) -> RenderableType:
    """Rows are layer groups from the input to the head, columns are phases; a cell is the peak learning rate.

    Args:
        plan: What to show.
        counts: Parameters of each of the plan's groups and of `head`.
        title: Stands above the table; the strategy's kind if None.
    """
    heading = Text(f"{title or plan.strategy}: {line(plan, counts)}", style="bold")
    chunks = [plan.phases[i : i + PHASES_A_TABLE] for i in range(0, len(plan.phases), PHASES_A_TABLE)]
    return Group(heading, *(_table(plan, counts, chunk) for chunk in chunks))


def _table(plan: Plan, counts: Mapping[str, int], phases: Sequence[Phase]) -> Table:
    total = sum(counts[group] for group in (*plan.groups, HEAD))
    table = Table(box=box.SIMPLE_HEAD, show_footer=True)
    table.add_column("group", footer="trainable\nratio")
    table.add_column("parameters", justify="right", footer=f"{total:,}\n")
    for phase in phases:
        count = trained(phase, counts)
        name = f"{phase.name}\n{phase.epochs} epoch{'' if phase.epochs == 1 else 's'}"
        table.add_column(name, justify="right", footer=f"{count:,}\n{count / total:.2%}")
    for group in (*plan.groups, HEAD):
        cells = [_cell(phase.rates[group]) for phase in phases]
        table.add_row(Text(group), f"{counts[group]:,}", *cells)
    return table


def _cell(value: float | None) -> Text:
    return Text(rate(value), style="dim" if value is None else "green")
