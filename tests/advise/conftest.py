"""Made-up features, evidence and a small network with images, for the advisor."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from torch import nn

from tlpipe.advise.evidence import Evidence
from tlpipe.advise.experience import Experience, Rule
from tlpipe.advise.probe import Measured
from tlpipe.backbones.base import Encoder, SequentialEncoder
from tlpipe.data.packed import Packed
from tlpipe.preprocess.image import ImagePreprocess
from tlpipe.train.hardware.device import Machine, Runtime

GROUPS = ("stem", "middle", "top")


def clouds(count: int, classes: int, apart: float, seed: int, width: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """Gaussian classes whose centres (the same for every seed) are `apart` deviations from the origin."""
    centres = np.random.default_rng(99).normal(size=(classes, width))
    centres *= apart / np.linalg.norm(centres, axis=1, keepdims=True)
    generator = np.random.default_rng(seed)
    labels = (np.arange(count) % classes).astype(np.int64)
    return (centres[labels] + generator.normal(size=(count, width))).astype(np.float32), labels


def measured(accuracy: float, samples: int = 200) -> Measured:
    return Measured(accuracy, (accuracy * (1 - accuracy) / samples + 1e-4) ** 0.5, samples)


@pytest.fixture
def make_evidence() -> Callable[..., Evidence]:
    def make(last: float = 0.7, every: float = 0.7, random: float = 0.3, samples: int = 200) -> Evidence:
        return Evidence(
            samples=samples, classes=5, parameters=10_000, probed=samples,
            depths={"stem": measured(0.4), "middle": measured(0.6), "top": measured(last)},
            all_depths=measured(every), random=measured(random), linearised=None, shift=0.5, curve=(), forward=0.001,
            examples=samples,
        )  # fmt: skip

    return make


@pytest.fixture
def experience() -> Experience:
    """Fine-tuning halves errors where pretrained features are no better than random ones, and is no gain elsewhere."""

    def rule(probe: Literal["last", "best"], weights: tuple[float, ...], sigma: float) -> Rule:
        return Rule(probe=probe, weights=weights, sigma=sigma, cells=9)

    return Experience(
        targets=("a", "b"),
        rules={
            "head_only": rule("last", (0.0, 0.0, 0.0, 0.0), 0.05),
            "top_layers": rule("best", (0.0, 0.0, 0.0, 0.0), 0.1),
            "all_layers": rule("best", (-0.7, 0.0, 0.0, -1.0), 0.1),
            "scratch": rule("best", (0.5, 0.0, 0.0, -1.0), 0.1),
        },
    )


@pytest.fixture
def machine() -> Machine:
    return Runtime(device="cpu", precision="fp32", threads=1).resolve()


def small_encoder(seed: int = 0) -> Encoder:
    torch.manual_seed(seed)
    return SequentialEncoder(
        {
            "stem": nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU()),
            "middle": nn.Sequential(nn.Conv2d(8, 12, 3, 2, 1), nn.BatchNorm2d(12), nn.ReLU()),
            "top": nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(48, 10)),
        },
        10,
    )


@pytest.fixture
def packed(tmp_path: Path) -> Packed:
    """Three classes: noise with a bright patch whose place tells the class."""
    count, edge = 90, 16
    generator = np.random.default_rng(0)
    labels = (np.arange(count) % 3).astype(np.int64)
    images = generator.integers(0, 120, (count, edge, edge, 3)).astype(np.uint8)
    for row, label in enumerate(labels):
        images[row, 5 * label : 5 * label + 5] += 100
    folder = tmp_path / "packed"
    folder.mkdir()
    np.save(folder / "images.npy", images)
    np.save(folder / "labels.npy", labels)
    about = {
        "classes": ["a", "b", "c"], "task": "image_classification",
        "preprocess": ImagePreprocess(size=edge, resize_to=edge).model_dump(),
        "ranges": {"train": [0, 60], "validation": [60, 75], "test": [75, 90]}, "fingerprint": "test",
    }  # fmt: skip
    (folder / "dataset.json").write_text(json.dumps(about))
    return Packed.open(folder)
