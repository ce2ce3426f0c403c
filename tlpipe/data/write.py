"""Writing the folder of packed arrays from the scratch file, row by row."""

import csv
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tlpipe.data.base import Sample, Track
from tlpipe.data.ingest import Image
from tlpipe.data.packed import SPLITS, Split
from tlpipe.preprocess.image import ImagePreprocess

COLUMNS = ("row", "id", "label", "split", "group", "sha256", "width", "height")


@dataclass(frozen=True)
class Row:
    """One row of the packed arrays, and which row of the scratch file it is."""

    scratch: int
    sample: Sample
    split: Split
    image: Image


def write(
    folder: Path, scratch: Path, rows: Sequence[Row], classes: Sequence[str], preprocess: ImagePreprocess, track: Track
) -> str:
    """Fill `folder` with what `Packed.open` reads, remove `scratch`, and return the fingerprint.

    Args:
        folder: Exists.
        scratch: Rows of (resize_to, resize_to, 3) uint8.
        rows: Ordered train, validation, test.
        classes: Class names in label order.
        preprocess: Is stored, for it is what the rows were made with.
        track: Wraps the copying.
    """
    _images(folder / "images.npy", scratch, rows, preprocess.resize_to, track)
    np.save(folder / "labels.npy", np.array([classes.index(row.sample.label) for row in rows], np.int64))
    with (folder / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
        lines = csv.writer(file, lineterminator="\n")
        lines.writerow(COLUMNS)
        lines.writerows(_line(number, row) for number, row in enumerate(rows))
    fingerprint = _fingerprint(rows, preprocess)
    ranges = _ranges(rows)
    about = {
        "classes": list(classes),
        "counts": {split: high - low for split, (low, high) in ranges.items()},
        "ranges": ranges,
        "preprocess": json.loads(preprocess.model_dump_json()),
        "fingerprint": fingerprint,
    }
    (folder / "dataset.json").write_text(json.dumps(about, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return fingerprint


def _images(path: Path, scratch: Path, rows: Sequence[Row], edge: int, track: Track) -> None:
    size = edge * edge * 3
    header = {"descr": "|u1", "fortran_order": False, "shape": (len(rows), edge, edge, 3)}
    with path.open("wb") as target, scratch.open("rb") as source:
        np.lib.format.write_array_header_1_0(target, header)
        for row in track(rows, "writing arrays", len(rows), "img"):
            source.seek(row.scratch * size)
            target.write(source.read(size))
    scratch.unlink()


def _line(number: int, row: Row) -> tuple[object, ...]:
    sample, image = row.sample, row.image
    return number, sample.id, sample.label, row.split, sample.group or "", image.sha256, image.width, image.height


def _ranges(rows: Sequence[Row]) -> dict[str, list[int]]:
    ranges: dict[str, list[int]] = {}
    low = 0
    for split in SPLITS:
        high = low + sum(row.split == split for row in rows)
        ranges[split] = [low, high]
        low = high
    return ranges


def _fingerprint(rows: Sequence[Row], preprocess: ImagePreprocess) -> str:
    digest = hashlib.sha256(preprocess.model_dump_json().encode())
    for row in rows:
        digest.update(json.dumps([row.image.sha256, row.sample.label, row.split]).encode())
    return digest.hexdigest()
