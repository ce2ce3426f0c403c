"""What every folder of packed arrays has besides its arrays: a manifest, and what it all was made of."""

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path

from tlpipe.csv_files import write_rows
from tlpipe.data.base import Sample
from tlpipe.data.packed import SPLITS, Split
from tlpipe.preprocess import AnyPreprocess

COLUMNS = ("row", "id", "label", "split", "group", "fold")


@dataclass(frozen=True)
class Row:
    """One row of the packed arrays; the first of `details` is the sha256 of the raw sample."""

    index: int
    sample: Sample
    split: Split
    details: tuple[object, ...]
    fold: int | None = None


def write(
    folder: Path,
    rows: Sequence[Row],
    classes: Sequence[str],
    task: str,
    preprocess: AnyPreprocess,
    details: Sequence[str],
    refit: bool,
) -> str:
    """Write manifest.csv and dataset.json, and return the fingerprint.

    Args:
        folder: Exists, and has the arrays.
        rows: Ordered train, validation, test, and by fold within train.
        classes: Names of the outputs in label order.
        task: Kind of the task that the rows are labelled for.
        preprocess: Is stored, for it is what the rows were made with.
        details: Names of `Row.details`.
        refit: See `Packed.refit`.
    """
    lines = (_line(number, row) for number, row in enumerate(rows))
    write_rows(folder / "manifest.csv", (*COLUMNS, *details), lines)
    fingerprint = _fingerprint(rows, preprocess)
    ranges = _ranges(rows)
    about = {
        "classes": list(classes),
        "counts": {split: high - low for split, (low, high) in ranges.items()},
        "ranges": ranges,
        "folds": _folds(rows),
        "refit": refit,
        "learnt": ranges["test"][0] if refit else ranges["train"][1],
        "task": task,
        "preprocess": json.loads(preprocess.model_dump_json()),
        "fingerprint": fingerprint,
    }
    (folder / "dataset.json").write_text(json.dumps(about, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return fingerprint


def _line(number: int, row: Row) -> tuple[object, ...]:
    fold = "" if row.fold is None else row.fold
    return number, row.sample.id, row.sample.label, row.split, row.sample.group or "", fold, *row.details


def _folds(rows: Sequence[Row]) -> list[list[int]]:
    counts = Counter(row.fold for row in rows if row.fold is not None)
    bounds = list(accumulate((counts[fold] for fold in sorted(counts)), initial=0))
    return [list(pair) for pair in pairwise(bounds)]


def _ranges(rows: Sequence[Row]) -> dict[str, list[int]]:
    ranges: dict[str, list[int]] = {}
    low = 0
    for split in SPLITS:
        high = low + sum(row.split == split for row in rows)
        ranges[split] = [low, high]
        low = high
    return ranges


def split_sets(rows: Sequence[Row]) -> dict[Split, str]:
    """sha256 over the raw samples of each split and their labels, whatever else there is and however they are read.

    Figures on equal sets can be compared: another resolution changes nothing.
    """
    sets = {split: {(str(row.details[0]), row.sample.label) for row in rows if row.split == split} for split in SPLITS}
    return {split: hashlib.sha256(json.dumps(sorted(each)).encode()).hexdigest() for split, each in sets.items()}


def _fingerprint(rows: Sequence[Row], preprocess: AnyPreprocess) -> str:
    digest = hashlib.sha256(preprocess.model_dump_json().encode())
    for row in rows:
        fold = [] if row.fold is None else [row.fold]
        digest.update(json.dumps([row.details[0], row.sample.label, row.split, *fold]).encode())
    return digest.hexdigest()
