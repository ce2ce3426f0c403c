"""Packed arrays: every sample decoded and resized once, mapped rather than loaded."""

import csv
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tlpipe.preprocess.image import ImagePreprocess

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")


@dataclass(frozen=True)
class Packed:
    """The folder that `prepare` writes.

    `images.npy` (N, R, R, 3) uint8, `labels.npy` (N,) int64, `manifest.csv` with one line a row (row, id, label,
    split, group, sha256 of the raw bytes, width, height of the raw image), `dataset.json` with classes, counts,
    preprocessing and fingerprint. Rows are ordered train, validation, test.
    """

    folder: Path
    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    preprocess: ImagePreprocess
    ranges: dict[str, tuple[int, int]]
    fingerprint: str
    """sha256 over the raw bytes' hashes, labels, splits and preprocessing: equal data, equal fingerprint."""

    @classmethod
    def open(cls, folder: Path) -> "Packed":
        """Map an existing folder; nothing but the labels is read into memory."""
        about = json.loads((folder / "dataset.json").read_text())
        return cls(
            folder=folder,
            images=np.load(folder / "images.npy", mmap_mode="r"),
            labels=np.load(folder / "labels.npy"),
            classes=tuple(about["classes"]),
            preprocess=ImagePreprocess.model_validate_json(json.dumps(about["preprocess"])),
            ranges={name: (low, high) for name, (low, high) in about["ranges"].items()},
            fingerprint=about["fingerprint"],
        )

    def rows(self, split: Split) -> NDArray[np.int64]:
        """Row numbers of one split, ascending."""
        return np.arange(*self.ranges[split], dtype=np.int64)

    @cached_property
    def ids(self) -> tuple[str, ...]:
        """The source's sample id of every row: `source.read(id)` gives its raw bytes."""
        with (self.folder / "manifest.csv").open(newline="", encoding="utf-8") as file:
            return tuple(line["id"] for line in csv.DictReader(file))
