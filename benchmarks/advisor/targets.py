"""The targets of the oracle grid, the two backbones, and how a labelled sample of a target is drawn.

Which targets the advisor may be fitted on was decided here before the first cell was trained.
"""

import os
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from benchmarks.advisor import drawn
from tlpipe.backbones import AnyBackbone
from tlpipe.backbones.base import Encoder
from tlpipe.backbones.checkpoint import Checkpoint
from tlpipe.backbones.letters import Letters
from tlpipe.data.packed import SPLITS, Packed
from tlpipe.preprocess import AnyPreprocess
from tlpipe.preprocess.decode import decode
from tlpipe.preprocess.image import ImagePreprocess
from tlpipe.train.hardware.device import Machine
from tlpipe.train.pretraining.letters import letters_trainer, render_letters
from tlpipe.train.pretraining.source import Source, load_source, save_source, source_encoder

SHARED = Path(os.environ.get("TLPIPE_SHARED", "../shared"))
SIZES = (8, 32, 128)
"""Labelled samples a class, training and validation together."""
EVERY = 4
"""One in so many labelled samples validates."""
TEST, POOL = 1500, 1500
"""Drawn images."""
EDGE = 64
"""Of photos, pixels: small, so that a training takes tens of seconds on one core."""
LETTERS = Letters(kind="letters", width=16, samples=10_000, epochs=3, seed=0)


@dataclass(frozen=True)
class Target:
    """A labelled data set and the backbone that is transferred to it."""

    name: str
    backbone: str
    fitted: bool
    """Whether the advisor may be fitted on it; the others are looked at for the table alone."""


TARGETS = tuple(
    Target(name, backbone, fitted)
    for name, backbone, fitted in (
        ("printed", "letters", True),
        ("position", "letters", False),
        ("count", "letters", True),
        ("handwritten", "letters", False),
        ("orientation", "letters", True),
        ("texture", "letters", False),
        ("cifar10", "mobilenet_v2", True),
        ("rsscn7", "mobilenet_v2", False),
        ("chest_xray", "mobilenet_v2", True),
        ("hymenoptera", "mobilenet_v2", False),
        ("fashion_mnist_png", "mobilenet_v2", False),
    )
)


@dataclass(frozen=True)
class Arrays:
    """All images of a target; the first `pool` rows may be labelled, the others are the test split."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    pool: int

    def sample(self, size: int, seed: int, preprocess: AnyPreprocess, name: str) -> Packed:
        """`size` a class (all there are, if fewer) from the pool: nested in `size`, its validation samples too."""
        order = np.random.default_rng([seed, 7]).permutation(self.pool)
        train, validation = list[int](), list[int]()
        for label in np.unique(self.labels):
            rows = order[self.labels[order] == label][:size]
            held = np.arange(len(rows)) % EVERY == EVERY - 1
            validation += rows[held].tolist()
            train += rows[~held].tolist()
        parts = [np.sort(train), np.sort(validation), np.arange(self.pool, len(self.labels))]
        rows = np.concatenate(parts)
        ends = np.cumsum([0, *map(len, parts)]).tolist()
        return Packed(
            folder=Path(),
            samples=self.images[rows],
            labels=self.labels[rows],
            classes=tuple(str(label) for label in np.unique(self.labels)),
            task="image_classification",
            preprocess=preprocess,
            ranges=dict(zip(SPLITS, pairwise(ends), strict=True)),
            fingerprint=f"{name}/{size}/{seed}",
        )


class Bench:
    """Backbones and arrays, made once below `folder`."""

    def __init__(self, folder: Path, machine: Machine) -> None:
        self.folder, self.machine = folder, machine

    def source(self, name: str) -> tuple[Source, Path]:
        """What is known of a backbone, and the folder of its weights."""
        folder = self.folder / "source" / name
        if not (folder / "source.json").is_file():
            self._make_source(name, folder)
        return load_source(folder), folder

    def encoder(self, name: str, pretrained: bool = True) -> Encoder:
        """The backbone, or the same network with fresh weights (torch's global generator)."""
        source, folder = self.source(name)
        return source_encoder(folder, source) if pretrained else source.backbone.encoder()

    def _make_source(self, name: str, folder: Path) -> None:
        if name == "letters":
            data = self.folder / "letters"
            for _ in render_letters(LETTERS, data):
                pass
            trainer = letters_trainer(LETTERS, data, self.machine)
            for _ in trainer.run():
                pass
            backbone: AnyBackbone = LETTERS
            encoder, origin = trainer.model.encoder, "rendered letters"
        else:
            backbone = Checkpoint.model_validate(
                {
                    "kind": "checkpoint",
                    "architecture": {"library": "torchvision", "name": name},
                    "path": str(SHARED / "weights/mobilenet_v2_imagenet.pth"),
                    "inputs": {"size": EDGE, "resize_to": EDGE},
                }
            )
            encoder, origin = backbone.pretrained()[0], "ImageNet"
        about = Source(
            backbone=backbone, preprocess=backbone.preprocess(), origin=origin, sha256="", skipped=(),
            groups=encoder.groups, feature_dim=encoder.feature_dim,
        )  # fmt: skip
        save_source(folder, encoder, about)

    def arrays(self, target: Target) -> Arrays:
        """All images of a target."""
        path = self.folder / "data" / f"{target.name}.npz"
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            images, labels, pool = _make_arrays(
                target, cast(ImagePreprocess, self.source(target.backbone)[0].preprocess)
            )
            np.savez(path.with_suffix(".half.npz"), images=images, labels=labels, pool=pool)
            path.with_suffix(".half.npz").replace(path)
        with np.load(path) as found:
            return Arrays(found["images"], found["labels"], int(found["pool"]))


def _make_arrays(target: Target, preprocess: ImagePreprocess) -> tuple[NDArray[np.uint8], NDArray[np.int64], int]:
    if target.name in drawn.QUESTIONS:
        images, labels = drawn.draw(target.name, POOL + TEST, seed=1)
        return images, labels, POOL
    if target.name == "handwritten":
        images, labels = drawn.handwritten()
        order = np.random.default_rng(0).permutation(len(labels))
        return images[order], labels[order], 1300
    return _photos(SHARED / "data" / target.name, preprocess)


def _photos(root: Path, preprocess: ImagePreprocess) -> tuple[NDArray[np.uint8], NDArray[np.int64], int]:
    """train/ is the pool; val/ and test/ together are the test split."""
    found: dict[bool, list[tuple[NDArray[np.uint8], int]]] = {True: [], False: []}
    classes = sorted(path.name for path in (root / "train").iterdir() if path.is_dir())
    for split in ("train", "val", "test"):
        for label, name in enumerate(classes):
            for path in sorted((root / split / name).glob("*")):
                packed = preprocess.pack(decode(path.read_bytes(), 100_000_000))
                found[split == "train"].append((packed, label))
    images, labels = zip(*found[True], *found[False], strict=True)
    return np.stack(images), np.array(labels, np.int64), len(found[True])
