"""Which texts are learnt from and judged: a set, labels a class, and a draw."""

import csv
import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tlpipe.stages import sample_text

JUDGED = 600
"""Texts of a test split that judge, a draw that is the same for all methods and numbers of labels."""
Texts = Sequence[tuple[str, str]]
"""(text, label)"""


class Cell(NamedTuple):
    """One question: what is learnt from `train`, and judged on `test`."""

    name: str
    labels: int
    draw: int
    train: Texts
    test: Texts


def sets(shared: Path, scratch: Path) -> dict[str, tuple[Texts, Texts]]:
    """(training, test) texts by the name of the set.

    `sst2` is in the shared folder. `docstrings` are documentation strings of the standard library by area, whole
    modules for testing.
    """
    sample_text.main(scratch / "docstrings")
    lines = (scratch / "docstrings/passages.jsonl").read_text(encoding="utf-8").splitlines()
    passages = [json.loads(line) for line in lines]
    docs = tuple(
        [(each["text"], each["area"]) for each in passages if each["split"] == split] for split in ("train", "test")
    )
    return {
        "sst2": (_tsv(shared / "data/sst2/train.tsv"), _tsv(shared / "data/sst2/test.tsv")),
        "docstrings": (docs[0], docs[1]),
    }


def _tsv(path: Path) -> Texts:
    with path.open(encoding="utf-8", newline="") as file:
        return [(text, label) for text, label in csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)]


def cell(name: str, texts: tuple[Texts, Texts], labels: int, draw: int) -> Cell:
    """`labels` texts a class, by a seeded draw in which more labels hold the fewer ones."""
    train, test = texts
    order = np.random.default_rng([draw, 17]).permutation(len(train))
    by_label: dict[str, list[Any]] = defaultdict(list)
    for at in order:
        by_label[train[at][1]].append(train[at])
    few = [each for label in sorted(by_label) for each in by_label[label][:labels]]
    judged = np.random.default_rng(5).permutation(len(test))[:JUDGED]
    return Cell(name, labels, draw, few, [test[at] for at in judged])
