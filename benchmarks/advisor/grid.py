"""The oracle grid: what every strategy really reaches, on targets x sizes x seeds.

    python -m benchmarks.advisor.grid OUT [--minutes 60] [--seeds 3] [--targets count,cifar10] [--strategies scratch]

Every training that is done is one line of OUT/cells.jsonl; what is there is not trained again, so the grid can be
killed and started at will, in parts, with other targets, sizes, seeds and strategies. One process, one thread. Every
strategy has the same small sweep (two rates; head penalties for the frozen ones), each point is judged on the
validation split, and the test split is only written down. No augmentation; `scratch` gets twice the steps.
`--strategies bit` is the BiT-HyperRule, which has no sweep and takes several times as long as anything else.
"""

import argparse
import json
import shutil
import time
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.advisor.bit import fine_tune
from benchmarks.advisor.targets import SIZES, TARGETS, Bench, Target
from tlpipe.backbones.base import Encoder
from tlpipe.data.packed import SPLITS, Packed
from tlpipe.strategies.base import Strategy
from tlpipe.strategies.scratch import Scratch
from tlpipe.strategies.unfreeze import AllLayers, TopLayers
from tlpipe.tasks.image_classification import ImageClassification
from tlpipe.train.batches import Batches, chunks
from tlpipe.train.device import Machine, Runtime
from tlpipe.train.events import Epoch
from tlpipe.train.fit import Trainer
from tlpipe.train.head import Head
from tlpipe.train.model import Classifier
from tlpipe.train.randomness import derive
from tlpipe.train.spec import Augment, Cache, Training
from tlpipe.train.views import views_of

TASK = ImageClassification()
HEAD = Head(penalties=(1.0, 0.1, 0.01, 0.001), balance="none", iterations=100)
STEPS = {8: 150, 32: 250, 128: 350}
"""Of a fine-tuning, by labelled samples a class; scratch gets twice as many."""
BATCH = 32
TOP = {"letters": 2, "mobilenet_v2": 5}
"""Layer groups that `top_layers` unfreezes."""
RATES = (1e-3, 4e-3)
RECIPE = Training(
    seed=0, batch_size=BATCH, optimizer="adamw", weight_decay=0.02, schedule="cosine", warmup=0.1,
    label_smoothing=0.1, clip_norm=1.0, norm_statistics="batch", balance="none", dropout=0.1, ema=None,
    monitor="accuracy", patience=10_000,
    augment=Augment(flip=False, zoom=(1, 1), rotate=0, shift=0, brightness=0, mixup=0, cutmix=0),
    cache=Cache(views=1, noise=0, storage="auto", gigabytes=2),
)  # fmt: skip
Record = dict[str, Any]


def trained(name: str, backbone: str, lr: float, epochs: int) -> Strategy:
    """The strategy `name` with this rate."""
    if name == "scratch":
        return Scratch(kind="scratch", lr=lr, epochs=2 * epochs)
    if name == "top_layers":
        return TopLayers(kind="top_layers", layers=TOP[backbone], lr=lr, gamma=0.8, stage_epochs=1, epochs=epochs)
    return AllLayers(kind="all_layers", lr=lr, rho=0.2, stages=1, epochs=epochs)


FROZEN = ("head_only", "all_depth_head")
FULL = ("top_layers", "all_layers", "scratch")


@dataclass(frozen=True)
class Cell:
    """One labelled sample of a target, and its frozen features."""

    target: Target
    size: int
    seed: int
    packed: Packed
    depths: dict[str, Tensor]
    """Pooled features (N, D_g) by group, rows as in `packed`."""

    def features(self, split: str, all_depths: bool = False) -> Tensor:
        """(N, D) of one split: the last depth's, or those of all depths, each weighing the same."""
        low, high = self.packed.ranges[split]
        parts = [each[low:high] for each in self.depths.values()]
        return torch.cat([part / part.shape[1] ** 0.5 for part in parts], 1) if all_depths else parts[-1]

    def labels(self, split: str) -> Tensor:
        """(N,) of one split."""
        return torch.from_numpy(self.packed.labels[slice(*self.packed.ranges[split])])


class Grid:
    """Trains what is not in the file yet."""

    def __init__(self, folder: Path, deadline: float) -> None:
        self.machine: Machine = Runtime(device="cpu", precision="fp32", threads=1).resolve()
        self.folder, self.deadline = folder, deadline
        self.bench = Bench(folder, self.machine)
        self.file = folder / "cells.jsonl"
        self.done = {_key(record) for record in read(self.file)}

    def run(self, target: Target, size: int, seed: int, names: tuple[str, ...]) -> None:
        """All points of one cell, those that are there left out; stops between two when time is up."""
        points = [(name, lr) for name in names for lr in (RATES if name in FULL else (0.0,))]
        missing = [
            each
            for each in points
            if _key({"target": target.name, "size": size, "seed": seed, "strategy": each[0], "lr": each[1]})
            not in self.done
        ]
        if not missing or time.time() > self.deadline:
            return
        cell = self.cell(target, size, seed)
        for name, lr in missing:
            if time.time() > self.deadline:
                return
            begun = time.process_time()
            found = self._point(cell, name, lr)
            seconds = time.process_time() - begun
            self._write(cell, {"strategy": name, "lr": lr, **found, "seconds": round(seconds, 3)})

    def cell(self, target: Target, size: int, seed: int) -> Cell:
        """The sample and the features of the frozen backbone on it."""
        source, _ = self.bench.source(target.backbone)
        packed = self.bench.arrays(target).sample(size, seed, source.preprocess, target.name)
        encoder = self.bench.encoder(target.backbone).eval()
        return Cell(target, size, seed, packed, embedded(encoder, packed, self.machine))

    def _write(self, cell: Cell, found: Record) -> None:
        counts = {split: len(cell.packed.rows(split)) for split in SPLITS}
        head = {"target": cell.target.name, "size": cell.size, "seed": cell.seed}
        record = {**head, "classes": len(cell.packed.classes), "counts": counts, **found}
        with self.file.open("a") as file:
            file.write(json.dumps(record) + "\n")
        self.done.add(_key(record))
        print(
            *head.values(), found["strategy"], found["lr"], f"{found['test']:.4f} {found['seconds']:.0f} s", flush=True
        )

    def _point(self, cell: Cell, name: str, lr: float) -> Record:
        if name == "bit":
            model = self._start(cell, True, RECIPE.model_copy(update={"seed": cell.seed, "dropout": 0.0}))
            fine_tune(model, cell.packed, self.machine, cell.seed)
            return scores({split: predicted(model, cell.packed, split, self.machine) for split in SPLITS[1:]}, cell)
        return self._frozen(cell, name) if name in FROZEN else self._train(cell, name, lr)

    def _frozen(self, cell: Cell, name: str) -> Record:
        every = name == "all_depth_head"
        parts = {split: cell.features(split, every) for split in SPLITS}
        fitted = HEAD.fit(
            (parts["train"], cell.labels("train")), (parts["validation"], cell.labels("validation")),
            len(cell.packed.classes),
        )  # fmt: skip
        logits: dict[str, Tensor] = {split: parts[split].double() @ fitted.weight.T + fitted.bias for split in SPLITS}
        return scores(logits, cell)

    def _train(self, cell: Cell, name: str, lr: float) -> Record:
        per_epoch = -(-len(cell.packed.rows("train")) // BATCH)
        strategy = trained(name, cell.target.backbone, lr, max(1, round(STEPS[cell.size] / per_epoch)))
        training = RECIPE.model_copy(update={"seed": cell.seed})
        cache = self.folder / "cache"
        plan = strategy.plan(self.bench.source(cell.target.backbone)[0].groups)
        model = self._start(cell, plan.start == "head", training)
        trainer = Trainer(model, plan, TASK, training, Batches(cell.packed, self.machine.device), self.machine, cache)
        epochs = [event for event in trainer.run() if isinstance(event, Epoch)]
        shutil.rmtree(cache, ignore_errors=True)
        found = scores({split: predicted(model, cell.packed, split, self.machine) for split in SPLITS[1:]}, cell)
        return {
            **found,
            "curve": [round(epoch.validation["accuracy"], 4) for epoch in epochs],
            "losses": [round(epoch.validation["loss"], 4) for epoch in epochs],
        }

    def _start(self, cell: Cell, pretrained: bool, training: Training) -> Classifier:
        torch.manual_seed(derive(training.seed, "initialise"))
        encoder = self.bench.encoder(cell.target.backbone, pretrained)
        layers = TASK.head(encoder.feature_dim, len(cell.packed.classes), training.dropout)
        if pretrained:
            parts = [(cell.features(split), cell.labels(split)) for split in SPLITS[:2]]
            fitted = HEAD.fit(parts[0], parts[1], len(cell.packed.classes))
            linear = next(module for module in layers.modules() if isinstance(module, nn.Linear))
            linear.load_state_dict({"weight": fitted.weight, "bias": fitted.bias})
        return Classifier(encoder, layers)


def embedded(encoder: Encoder, packed: Packed, machine: Machine) -> dict[str, Tensor]:
    """Pooled features (N, D_g) of every depth, all splits."""
    views, batches = views_of(packed.preprocess, machine.device), Batches(packed, machine.device)
    parts = chunks(np.arange(len(packed.labels)), 128)
    with torch.inference_mode():
        found = [dict(encoder.depths(views.evaluation(images))) for images in batches.images.stream(parts)]
    return {group: torch.cat([each[group] for each in found]).clone() for group in found[0]}


def predicted(model: Classifier, packed: Packed, split: str, machine: Machine) -> Tensor:
    """Logits (N, C) on the evaluation view."""
    views, batches = views_of(packed.preprocess, machine.device), Batches(packed, machine.device)
    parts = chunks(np.arange(*packed.ranges[split]), 128)
    with torch.inference_mode():
        return torch.cat([model.eval()(views.evaluation(images)) for images in batches.images.stream(parts)])


def scores(logits: dict[str, Tensor], cell: Cell) -> Record:
    """Accuracy on validation and test, and cross-entropy (nats) on validation."""
    right: Record = {
        split: float((logits[split].argmax(1) == cell.labels(split)).double().mean()) for split in SPLITS[1:]
    }
    loss = float(functional.cross_entropy(logits["validation"].double(), cell.labels("validation")))
    return {**right, "validation_loss": round(loss, 5)}


def read(file: Path) -> list[Record]:
    """The lines that are whole: a kill may have left half of one."""
    records = []
    for line in file.read_text().splitlines() if file.is_file() else []:
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return records


def _key(record: Record) -> tuple[Any, ...]:
    return tuple(record[name] for name in ("target", "size", "seed", "strategy", "lr"))


def main() -> None:
    """Train until all that was asked for is there, or time is up."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--minutes", type=float, default=1e6)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--targets", default=",".join(target.name for target in TARGETS))
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)))
    parser.add_argument("--strategies", default=",".join((*FROZEN, *FULL)))
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    grid = Grid(asked.out, time.time() + 60 * asked.minutes)
    chosen = [target for target in TARGETS if target.name in asked.targets.split(",")]
    # Seeds outermost: whenever it is stopped, the targets are covered evenly.
    for seed, size, target in product(range(asked.seeds), map(int, asked.sizes.split(",")), chosen):
        grid.run(target, size, seed, tuple(asked.strategies.split(",")))


if __name__ == "__main__":
    main()
