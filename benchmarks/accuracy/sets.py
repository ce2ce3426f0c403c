"""The labelled sets of the accuracy benchmark, packed once, and how labels are drawn from them.

Which sets choices may be made on was decided before the first training: `fitted` ones; the others are looked at once.
"""

import os
import random
from dataclasses import dataclass
from importlib import resources
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.advisor import drawn
from tlpipe.backbones.checkpoint import Checkpoint
from tlpipe.data.packed import Packed
from tlpipe.preprocess.decode import decode
from tlpipe.preprocess.image import ImagePreprocess

SHARED = Path(os.environ.get("TLPIPE_SHARED", "../shared"))
WEIGHTS = SHARED / "weights/mobilenet_v2_imagenet.pth"
FITTED = ("cifar10", "chest_xray", "elpv", "orientation", "printed", "count")
HELD_OUT = ("rsscn7", "hymenoptera", "fashion_mnist_png")
TEST = {"hymenoptera": "val"}
"""The folder of test images, where it is not `test`."""
FOLDS = 5
"""As `data.split.folds: auto` gives so few labelled samples."""
CELL_TEST, CELL_TRAIN = 300, 400
"""Solar cells a class that test, and that may be labelled."""
POOL, DRAWN_TEST = 600, 600
"""Images of a drawn set that may be labelled, and that test."""
SUFFIXES = (".jpg", ".jpeg", ".png")


@dataclass(frozen=True)
class Images:
    """All images of a set, packed: the first `pool` rows may be labelled, the others test."""

    name: str
    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    pool: int
    preprocess: ImagePreprocess

    def rows(self, labels: int, draw: int) -> list[int]:
        """The rows that are labelled: `labels` a class (0 = all), by the same rule as the plain loop's."""
        return chosen(self.labels[: self.pool].tolist(), labels, draw)

    def packed(self, labels: int, draw: int) -> Packed:
        """That many labels a class in FOLDS stratified folds, as `prepare` would pack them, and all test images."""
        rows = np.array(self.rows(labels, draw), np.int64)
        fold = stratified(self.labels[rows], FOLDS, draw)
        rows = rows[np.argsort(fold, kind="stable")]
        ends = np.cumsum([0, *np.bincount(fold, minlength=FOLDS)]).tolist()
        test = np.arange(self.pool, len(self.labels))
        every = np.concatenate([rows, test])
        ranges = {"train": (0, len(rows)), "validation": (len(rows),) * 2, "test": (len(rows), len(every))}
        return Packed(
            folder=Path(),
            samples=self.images[every],
            labels=self.labels[every],
            classes=tuple(str(label) for label in np.unique(self.labels)),
            task="image_classification",
            preprocess=self.preprocess,
            ranges=ranges,
            fingerprint=f"{self.name}/{self.preprocess.size}/{labels}/{draw}",
            folds=tuple(pairwise(ends)),
            refit=True,
        )


def stratified(labels: NDArray[np.int64], folds: int, seed: int) -> NDArray[np.int64]:
    """(N,) the fold of each sample, the classes spread evenly."""
    generator = np.random.default_rng([seed, 11])
    fold = np.zeros(len(labels), np.int64)
    for label in np.unique(labels):
        at = generator.permutation(np.flatnonzero(labels == label))
        fold[at] = (np.arange(len(at)) + generator.integers(folds)) % folds
    return fold


def chosen(targets: list[int], labels: int, seed: int) -> list[int]:
    """Row numbers of `labels` samples a class in a random order; what `draw` of the plain loop gives."""
    order = list(range(len(targets)))
    random.Random(seed).shuffle(order)
    counts: dict[int, int] = {}
    rows = []
    for row in order:
        counts[targets[row]] = counts.get(targets[row], 0) + 1
        if not labels or counts[targets[row]] <= labels:
            rows.append(row)
    return rows


def backbone(size: int) -> Checkpoint:
    """MobileNetV2 with ImageNet's weights at `size` pixels; the shorter edge is resized to 1.14 times that."""
    return Checkpoint.model_validate(
        {
            "kind": "checkpoint",
            "architecture": {"library": "torchvision", "name": "mobilenet_v2"},
            "path": str(WEIGHTS),
            "inputs": {"size": size, "resize_to": round(size * 1.14)},
        }
    )


def folder_of(name: str, work: Path) -> Path:
    """A folder with train/ and test/ of class folders; drawn sets are written there, of others it has links."""
    folder = work / "folders" / name
    if not (folder / "test").exists():
        folder.mkdir(parents=True, exist_ok=True)
        if name in drawn.QUESTIONS:
            _write_drawn(name, folder)
        elif name == "elpv":
            _write_solar_cells(folder)
        else:
            source = (SHARED / "data" / name).resolve()
            (folder / "train").symlink_to(source / "train")
            (folder / "test").symlink_to(source / TEST.get(name, "test"))
    return folder


def _write_drawn(name: str, folder: Path) -> None:
    from PIL import Image

    images, labels = drawn.draw(name, POOL + DRAWN_TEST, seed=1)
    for split, rows in (("train", range(POOL)), ("test", range(POOL, POOL + DRAWN_TEST))):
        for row in rows:
            file = folder / f"{split}.half" / str(labels[row]) / f"{row:04d}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(images[row]).save(file)
        (folder / f"{split}.half").rename(folder / split)


def _write_solar_cells(folder: Path) -> None:
    """Photos of the package elpv-dataset that are surely functional or surely defective (Buerhop et al. 2018)."""
    source = resources.files("elpv_dataset") / "data"
    rows = [line.split() for line in (source / "labels.csv").read_text().splitlines() if line.strip()]
    sure = [(row[0], "defective" if float(row[1]) else "functional") for row in rows if float(row[1]) in (0, 1)]
    random.Random(5).shuffle(sure)
    counts: dict[str, int] = {}
    for file, kind in sure:
        counts[kind] = counts.get(kind, 0) + 1
        if counts[kind] <= CELL_TEST + CELL_TRAIN:
            target = folder / ("test" if counts[kind] <= CELL_TEST else "train") / kind / Path(file).name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((source / file).read_bytes())


def images_of(name: str, size: int, work: Path) -> Images:
    """A set packed for a network that sees `size` pixels; kept in `work`."""
    preprocess = backbone(size).preprocess()
    path = work / f"{name}-{size}.npz"
    if not path.is_file():
        images, labels, pool = _read(folder_of(name, work), preprocess)
        np.savez(path.with_suffix(".half.npz"), images=images, labels=labels, pool=pool)
        path.with_suffix(".half.npz").replace(path)
    with np.load(path) as found:
        return Images(name, found["images"], found["labels"], int(found["pool"]), preprocess)


def files_of(folder: Path) -> list[Path]:
    """Image files of class folders in the order of torchvision's ImageFolder, so that draws are the plain loop's."""
    classes = sorted(path for path in folder.iterdir() if path.is_dir())
    return [path for kind in classes for path in sorted(kind.iterdir()) if path.suffix.lower() in SUFFIXES]


def _read(folder: Path, preprocess: ImagePreprocess) -> tuple[NDArray[np.uint8], NDArray[np.int64], int]:
    train, test = files_of(folder / "train"), files_of(folder / "test")
    classes = sorted({path.parent.name for path in train})
    packed = [preprocess.pack(decode(path.read_bytes(), 100_000_000)) for path in (*train, *test)]
    labels = [classes.index(path.parent.name) for path in (*train, *test)]
    return np.stack(packed), np.array(labels, np.int64), len(train)
