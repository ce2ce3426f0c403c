"""A small world to train in: packed random images with a pattern that can be learnt, and small networks."""

import json
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.lib.format import open_memmap
from torch import nn

from tlpipe.backbones.base import Encoder, SequentialEncoder
from tlpipe.data.packed import Packed
from tlpipe.preprocess.image import ImagePreprocess
from tlpipe.strategies.plan import Plan
from tlpipe.tasks.image_classification.spec import ImageClassification
from tlpipe.train.hardware.device import Machine, Runtime
from tlpipe.train.inputs.batches import Batches
from tlpipe.train.model import Classifier
from tlpipe.train.spec import Augment, Cache, Training
from tlpipe.train.trainer.loop import Trainer

COUNTS = {"train": 30, "validation": 12, "test": 12}


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """The kernel refuses to write larger files than `size` bytes, as it refuses any on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def make_packed(folder: Path, folds: int = 0, classes: int = 3, edge: int = 18, size: int = 16) -> Packed:
    """Noise with a bright patch whose place tells the class; with folds there is no validation split."""
    folder.mkdir(parents=True, exist_ok=True)
    counts = {"train": 42, "validation": 0, "test": 12} if folds else COUNTS
    total = sum(counts.values())
    generator = np.random.default_rng(0)
    images = open_memmap(folder / "images.npy", "w+", np.uint8, (total, edge, edge, 3))
    labels = (np.arange(total) % classes).astype(np.int64)
    images[:] = generator.integers(0, 120, images.shape, dtype=np.uint8)
    for row, label in enumerate(labels):
        images[row, 3 + 4 * label : 7 + 4 * label, 4:12] += 120
    images.flush()
    np.save(folder / "labels.npy", labels)
    bounds = np.cumsum([0, *counts.values()]).tolist()
    about = {
        "classes": [f"class {index}" for index in range(classes)],
        "task": "image_classification",
        "preprocess": ImagePreprocess(size=size, resize_to=edge).model_dump(),
        "ranges": {name: bounds[index : index + 2] for index, name in enumerate(counts)},
        "fingerprint": "test",
    }
    if folds:
        ends = np.linspace(0, counts["train"], folds + 1).astype(int).tolist()
        about |= {"folds": list(pairwise(ends)), "refit": True}
    (folder / "dataset.json").write_text(json.dumps(about))
    return Packed.open(folder)


def make_encoder() -> Encoder:
    """BatchNorm, LayerNorm and dropout in three groups; features (B, 16)."""
    torch.manual_seed(0)
    return SequentialEncoder(
        {
            "stem": nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU()),
            "middle": nn.Sequential(nn.Conv2d(8, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.ReLU(), nn.Dropout(0.3)),
            "top": nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(64, 16), nn.LayerNorm(16)),
        },
        16,
    )


@pytest.fixture
def packed(tmp_path: Path) -> Packed:
    return make_packed(tmp_path / "packed")


@pytest.fixture
def machine() -> Machine:
    return Runtime(device="cpu", precision="fp32", threads=1).resolve()


def make_training(**changes: object) -> Training:
    """A short recipe with everything on that a resume could get wrong."""
    augment = Augment(flip=True, zoom=(0.8, 1.1), rotate=10, shift=0.1, brightness=0.2, mixup=0.2, cutmix=0.5)
    cache = Cache(views=1, noise=0.05, storage="auto", gigabytes=1)
    values = {
        "seed": 3, "batch_size": 8, "optimizer": "adamw", "weight_decay": 0.05, "schedule": "cosine", "warmup": 0.2,
        "label_smoothing": 0.1, "clip_norm": 1.0, "norm_statistics": "batch",
        "balance": "none", "dropout": 0.2, "ema": None, "monitor": "loss",
        "patience": 100, "augment": augment, "cache": cache,
    }  # fmt: skip
    return Training.model_validate({**values, **changes})


@pytest.fixture(name="make_training")
def make_training_fixture() -> Callable[..., Training]:
    return make_training


@pytest.fixture
def make_trainer(packed: Packed, machine: Machine, tmp_path: Path) -> Callable[..., Trainer]:
    def make(plan: Plan, **changes: object) -> Trainer:
        training, task = make_training(**changes), ImageClassification()
        encoder = make_encoder()
        model = Classifier(encoder, task.head(16, len(packed.classes), training.dropout))
        batches = Batches(packed, machine.device)
        return Trainer(model, plan, task, training, batches, machine, tmp_path / "cache")

    return make
