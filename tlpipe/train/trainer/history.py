"""Files about a training that have a clock in them, and so are kept out of the model's folder."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tlpipe.csv_files import write_rows
from tlpipe.tasks.base import Scores
from tlpipe.train.trainer.events import Epoch


def write_history(path: Path, epochs: Iterable[Epoch]) -> None:
    """One line an epoch, for plots."""
    write_records(path, [epoch.row() for epoch in epochs])


def write_records(path: Path, records: Sequence[dict[str, Any]]) -> None:
    """A CSV file of `records`, which all have the keys of the first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    names = list(records[0])
    write_rows(path, names, ([record[name] for name in names] for record in records))


def write_json(path: Path, value: Any) -> None:
    """Indented, with a newline at the end."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def said(scores: Scores) -> str:
    """A validation's figures for people, the loss last."""
    ordered = sorted(scores, key="loss".__eq__)
    return ", ".join(f"{name} {scores[name]:.4f}" for name in ordered)
