"""Trainings of one draw of labels: the plain loop as given, and tlpipe's Trainer on the same labelled samples."""

import importlib.util
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from benchmarks.accuracy.sets import SHARED, Images, backbone
from tlpipe.data.packed import Packed
from tlpipe.strategies.plan import Plan
from tlpipe.strategies.scale import Scale
from tlpipe.strategies.unfreeze import AllLayers, TopLayers
from tlpipe.tasks.base import Scores
from tlpipe.tasks.image_classification import ImageClassification
from tlpipe.train.batches import Batches, chunks
from tlpipe.train.device import Machine
from tlpipe.train.events import Epoch
from tlpipe.train.fit import Trainer
from tlpipe.train.head import Head
from tlpipe.train.model import Classifier
from tlpipe.train.spec import Augment, Cache, Training
from tlpipe.train.views import views_of

TASK = ImageClassification()
Places = NDArray[np.int64]
"""Numbers of labelled samples."""
FOLDS = 5
HEAD = Head(penalties=(1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001), balance="none", iterations=500)
AUGMENTS: dict[str, dict[str, Any]] = {
    "none": {"flip": False, "zoom": (1, 1), "rotate": 0, "shift": 0, "brightness": 0},
    "recipe": {"flip": True, "zoom": (0.75, 1.1), "rotate": 10, "shift": 0.05, "brightness": 0.2},
    "area50": {"flip": True, "zoom": (1, 1), "rotate": 0, "shift": 0, "brightness": 0.2, "area": (0.5, 1)},
    "area25": {"flip": True, "zoom": (1, 1), "rotate": 0, "shift": 0, "brightness": 0.2, "area": (0.25, 1)},
    "area50c": {
        "flip": True, "zoom": (1, 1), "rotate": 10, "shift": 0, "brightness": 0.3, "area": (0.5, 1),
        "saturation": 0.3, "hue": 0.02,
    },
    "area25c": {
        "flip": True, "zoom": (1, 1), "rotate": 10, "shift": 0, "brightness": 0.4, "area": (0.25, 1),
        "saturation": 0.4, "hue": 0.05,
    },
}  # fmt: skip


@dataclass(frozen=True)
class Setting:
    """One way of fine-tuning. The defaults are the plain loop's values where tlpipe has them."""

    strategy: str = "all_layers"
    augment: str = "area50"
    lr: float = 1e-3
    rho: float = 0.1
    epochs: int = 20
    steps: int = 0
    """In place of `epochs`, if not 0: about so many optimizer steps."""
    decay: float = 0.02
    smoothing: float = 0.1
    dropout: float = 0.2
    batch: int = 16
    start: str = "head"
    """`head` = the fitted head, `random` = the same layer with fresh weights."""
    views: int = 0
    """Kept views of the frozen prefix; 0 = fresh ones."""
    layers: int = 3
    """Of top_layers."""
    mixup: float = 0
    cutmix: float = 0
    ema: float = 0
    name: str = ""

    def training(self, seed: int) -> Training:
        """The recipe that the Trainer is given; nothing is stopped early."""
        augment = Augment.model_validate({**AUGMENTS[self.augment], "mixup": self.mixup, "cutmix": self.cutmix})
        return Training(
            seed=seed, batch_size=self.batch, optimizer="adamw", weight_decay=self.decay, schedule="cosine",
            warmup=0.1, label_smoothing=self.smoothing, clip_norm=1.0, norm_statistics="source", balance="none",
            dropout=self.dropout, ema=self.ema or None, monitor="accuracy", patience=10_000, augment=augment,
            cache=Cache(views=self.views, noise=0, storage="auto", gigabytes=2),
        )  # fmt: skip

    def plan(self, groups: tuple[str, ...], samples: int) -> Plan:
        """What trains."""
        epochs = round(self.steps / -(-samples // self.batch)) if self.steps else self.epochs
        scale = Scale(samples=samples, batch_size=self.batch)
        if self.strategy == "top_layers":
            before = 1 if self.layers > 1 else None
            top = TopLayers(
                kind="top_layers", layers=self.layers, lr=self.lr, gamma=0.8, stage_epochs=before, epochs=epochs
            )
            return top.plan(groups, scale)
        return AllLayers(kind="all_layers", lr=self.lr, rho=self.rho, stages=1, epochs=epochs).plan(groups, scale)


class Cell:
    """A draw of labels of a set: its packed samples, the frozen features, and the fitted head."""

    def __init__(self, images: Images, labels: int, draw: int, machine: Machine) -> None:
        self.images, self.machine, self.draw = images, machine, draw
        self.rows = images.rows(labels, draw)
        self.encoder = backbone(images.preprocess.size).pretrained()[0].eval()
        self.packed = images.packed(self.rows, self.rows[:2])
        self.folds = stratified(images.labels[self.rows], FOLDS, draw)
        self.features, self.labels = self._features(), torch.from_numpy(self.packed.labels)
        self.penalty, self.pooled = self._penalty()

    def _features(self) -> Tensor:
        """(N, D) of every packed row, evaluation view."""
        views, batches = (
            views_of(self.packed.preprocess, self.machine.device),
            Batches(self.packed, self.machine.device),
        )
        parts = chunks(np.arange(len(self.packed.labels)), 64)
        with torch.inference_mode():
            found = [self.encoder(views.evaluation(images)) for images in batches.samples.stream(parts)]
        return torch.cat(found).clone()

    def _penalty(self) -> tuple[float, dict[float, float]]:
        """The penalty with the lowest pooled loss out of fold, and those losses."""
        pooled: dict[float, float] = {}
        for penalty in HEAD.penalties:
            total = 0.0
            for fold in range(FOLDS):
                weight, bias = self.head(np.flatnonzero(self.folds != fold), penalty)
                out = torch.from_numpy(np.flatnonzero(self.folds == fold))
                logits = self.features[out].double() @ weight.T + bias
                total += float(functional.cross_entropy(logits, self.labels[out], reduction="sum"))
            pooled[penalty] = total / len(self.rows)
        return min(pooled, key=lambda each: pooled[each]), pooled

    def head(self, places: Places, penalty: float) -> tuple[Tensor, Tensor]:
        """A converged head of the labelled samples at `places`."""
        at = torch.from_numpy(places)
        both = (self.features[at], self.labels[at])
        spec = HEAD.model_copy(update={"penalties": (penalty,)})
        fitted = spec.fit(both, both, len(self.packed.classes))
        return fitted.weight, fitted.bias

    def start(self, setting: Setting, places: Places | None = None) -> Classifier:
        """The model that a fine-tuning begins with."""
        encoder = backbone(self.images.preprocess.size).pretrained()[0]
        torch.manual_seed(self.draw)
        layers = TASK.head(encoder.feature_dim, len(self.packed.classes), setting.dropout)
        if setting.start == "head":
            everything = np.arange(len(self.rows)) if places is None else places
            weight, bias = self.head(everything, self.penalty)
            linear = next(module for module in layers.modules() if isinstance(module, torch.nn.Linear))
            with torch.no_grad():
                linear.weight.copy_(weight)
                linear.bias.copy_(bias)
        return Classifier(encoder, layers)

    def head_accuracy(self) -> float:
        """Test accuracy of the fitted head alone."""
        weight, bias = self.head(np.arange(len(self.rows)), self.penalty)
        low, high = self.packed.ranges["test"]
        logits = self.features[low:high].double() @ weight.T + bias
        return float((logits.argmax(1) == self.labels[low:high]).double().mean())

    def train(self, setting: Setting, packed: Packed, model: Classifier, cache: Path, seed: int) -> Iterator[Epoch]:
        """Train `model`; after each epoch it is that epoch's, at the end the last one's: nothing is chosen."""
        plan = setting.plan(tuple(model.encoder.groups), len(packed.rows("train")))
        trainer = Trainer(
            model, plan, TASK, setting.training(seed), Batches(packed, self.machine.device), self.machine, cache
        )
        trainer.validate = _nothing  # type: ignore[method-assign]
        for event in trainer.run():
            if isinstance(event, Epoch):
                yield event

    def logits(self, model: Classifier, packed: Packed | None = None, split: str = "test") -> Tensor:
        """(N, C) of one split, evaluation view."""
        packed = packed or self.packed
        views, batches = views_of(packed.preprocess, self.machine.device), Batches(packed, self.machine.device)
        parts = chunks(np.arange(*packed.ranges[split]), 64)
        model.eval()
        with torch.inference_mode():
            found = [model(views.evaluation(images)) for images in batches.samples.stream(parts)]
        return torch.cat(found).double()

    def figures(self, logits: Tensor) -> dict[str, float]:
        """Accuracy and loss on the test split."""
        labels = self.labels[slice(*self.packed.ranges["test"])]
        loss = float(functional.cross_entropy(logits, labels))
        return {"test": round(float((logits.argmax(1) == labels).double().mean()), 4), "nll": round(loss, 4)}

    def labelled_loss(self, model: Classifier) -> float:
        """Cross-entropy on all labelled samples, evaluation view."""
        labels = self.labels[: len(self.rows)]
        return round(float(functional.cross_entropy(self.logits(model, split="train"), labels)), 4)


def _nothing(weights: Mapping[str, Tensor] | None = None) -> Scores:
    """All epochs are equally good, so that the last one is kept."""
    return {"accuracy": 0.0, "loss": 0.0}


def stratified(labels: Places, folds: int, seed: int) -> Places:
    """(N,) the fold of each sample, the classes spread evenly."""
    generator = np.random.default_rng([seed, 11])
    fold = np.zeros(len(labels), np.int64)
    for label in np.unique(labels):
        at = generator.permutation(np.flatnonzero(labels == label))
        fold[at] = (np.arange(len(at)) + generator.integers(folds)) % folds
    return fold


def plain() -> ModuleType:
    """The plain loop as given: shared/baselines/plain.py."""
    spec = importlib.util.spec_from_file_location("plain", SHARED / "baselines/plain.py")
    if spec is None or spec.loader is None:
        raise FileNotFoundError(SHARED / "baselines/plain.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
