"""The labelled sets of the accuracy benchmark, packed once, and how labels are drawn from them.

Which sets choices may be made on was decided before the first training: `fitted` ones; the others are looked at once.
"""

import os
import random
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.advisor import drawn
from tlpipe.backbones.checkpoint import Checkpoint
from tlpipe.data.packed import SPLITS, Packed
from tlpipe.preprocess.decode import decode
from tlpipe.preprocess.image import ImagePreprocess

SHARED = Path(os.environ.get("TLPIPE_SHARED", "../shared"))
WEIGHTS = SHARED / "weights/mobilenet_v2_imagenet.pth"
FITTED = ("cifar10", "chest_xray", "orientation", "printed", "count")
HELD_OUT = ("rsscn7", "hymenoptera", "fashion_mnist_png")
TEST = {"hymenoptera": "val"}
"""The folder of test images, where it is not `test`."""
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

    def packed(self, train: list[int], validation: list[int]) -> Packed:
        """Those rows as the splits of a training, and all test images."""
        parts = [train, validation, list(range(self.pool, len(self.labels)))]
        rows = np.concatenate([np.array(part, np.int64) for part in parts])
        ends = np.cumsum([0, *map(len, parts)]).tolist()
        return Packed(
            folder=Path(),
            samples=self.images[rows],
            labels=self.labels[rows],
            classes=tuple(str(label) for label in np.unique(self.labels)),
            preprocess=self.preprocess,
            ranges=dict(zip(SPLITS, pairwise(ends), strict=True)),
            fingerprint=f"{self.name}/{self.preprocess.size}/{hash((tuple(train), tuple(validation)))}",
        )


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


def _read(folder: Path, preprocess: ImagePreprocess) -> tuple[NDArray[np.uint8], NDArray[np.int64], int]:
    """Classes and files in the order of torchvision's ImageFolder, so that draws are the plain loop's."""
    classes = sorted(path.name for path in (folder / "train").iterdir() if path.is_dir())
    packed: list[NDArray[np.uint8]] = []
    labels: list[int] = []
    pool = 0
    for split in ("train", "test"):
        pool = len(labels)
        for label, name in enumerate(classes):
            for path in sorted((folder / split / name).iterdir()):
                if path.suffix.lower() in SUFFIXES:
                    packed.append(preprocess.pack(decode(path.read_bytes(), 100_000_000)))
                    labels.append(label)
    return np.stack(packed), np.array(labels, np.int64), pool
