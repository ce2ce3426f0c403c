"""Files about a training that have a clock in them, and so are kept out of the model's folder."""

import csv
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tlpipe.tasks.base import Scores
from tlpipe.train.events import Epoch


def write_history(path: Path, epochs: Iterable[Epoch]) -> None:
    """One line an epoch, for plots."""
    write_rows(path, [epoch.row() for epoch in epochs])


def write_rows(path: Path, rows: Sequence[dict[str, Any]], names: Sequence[str] = ()) -> None:
    """A CSV file of `rows`; without `names` its columns are those of the first row."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names or list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def write_json(path: Path, value: Any) -> None:
    """Indented, with a newline at the end."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def said(scores: Scores) -> str:
    """A validation's figures for people, the loss last."""
    ordered = sorted(scores, key="loss".__eq__)
    return ", ".join(f"{name} {scores[name]:.4f}" for name in ordered)
