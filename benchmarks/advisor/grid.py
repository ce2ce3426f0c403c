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
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.advisor.bit import fine_tune
from benchmarks.advisor.cell import Cell, Record, embedded, predicted, read, scores
from benchmarks.advisor.ends import Ends, accuracy_of
from benchmarks.advisor.targets import SIZES, TARGETS, Bench, Target
from tlpipe.data.packed import SPLITS
from tlpipe.strategies.all_depth_tuning import SHORT, AllDepthTuning
from tlpipe.strategies.base import Strategy
from tlpipe.strategies.plan import Plan
from tlpipe.strategies.scratch import Scratch
from tlpipe.strategies.unfreeze import AllLayers, TopLayers
from tlpipe.tasks.image_classification.spec import ImageClassification
from tlpipe.train.hardware.device import Machine, Runtime
from tlpipe.train.heads.all_depths import AllDepths
from tlpipe.train.heads.head import Head
from tlpipe.train.heads.linear import install
from tlpipe.train.inputs.batches import Batches
from tlpipe.train.model import Classifier
from tlpipe.train.spec import Augment, Cache, Training
from tlpipe.train.trainer.loop import Trainer
from tlpipe.train.trainer.randomness import derive
from tlpipe.train.trainer.weight_averaging import Weights

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


def trained(name: str, backbone: str, lr: float, epochs: int) -> Strategy:
    """The strategy `name` with this rate."""
    if name == "scratch":
        return Scratch(kind="scratch", lr=lr, epochs=2 * epochs)
    if name == "top_layers":
        return TopLayers(kind="top_layers", layers=TOP[backbone], lr=lr, gamma=0.8, stage_epochs=1, epochs=epochs)
    if name == "all_depth_tuning":
        return AllDepthTuning(kind="all_depth_tuning", lr=lr, rho=0.2, epochs=max(1, round(SHORT * epochs)))
    return AllLayers(kind="all_layers", lr=lr, rho=0.2, stages=1, epochs=epochs)


FROZEN = ("head_only", "all_depth_head")
FULL = ("top_layers", "all_layers", "scratch")
ENDING = ("all_depth_tuning", "all_layers_ends")
"""Trainings whose ends are recorded besides; `all_layers_ends` is `all_layers` again."""


class Grid:
    """Trains what is not in the file yet."""

    def __init__(self, folder: Path, deadline: float) -> None:
        self.machine: Machine = Runtime(device="cpu", precision="fp32", threads=1).resolve()
        self.folder, self.deadline = folder, deadline
        self.bench = Bench(folder, self.machine)
        self.file = folder / "cells.jsonl"
        self.done = {key(record) for record in read(self.file)}

    def run(self, target: Target, size: int, seed: int, names: tuple[str, ...]) -> None:
        """All points of one cell, those that are there left out; stops between two when time is up."""
        points = [(name, lr) for name in names for lr in (RATES if name in (*FULL, *ENDING) else (0.0,))]
        missing = [
            each
            for each in points
            if key({"target": target.name, "size": size, "seed": seed, "strategy": each[0], "lr": each[1]})
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
            self._write(cell, {"strategy": name, "lr": lr, "seconds": round(seconds, 3), **found})

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
        self.done.add(key(record))
        print(
            *head.values(), found["strategy"], found["lr"], f"{found['test']:.4f} {found['seconds']:.0f} s", flush=True
        )

    def _point(self, cell: Cell, name: str, lr: float) -> Record:
        if name == "bit":
            model = self._start(
                cell,
                self._plan(cell, "all_layers", RATES[0]),
                RECIPE.model_copy(update={"seed": cell.seed, "dropout": 0.0}),
            )
            fine_tune(model, cell.packed, self.machine, cell.seed)
            return scores({split: predicted(model, cell.packed, split, self.machine) for split in SPLITS[1:]}, cell)
        return self._frozen(cell, name) if name in FROZEN else self._train(cell, name, lr)

    def _frozen(self, cell: Cell, name: str) -> Record:
        every = name == "all_depth_head"
        fitted = cell.head(HEAD, every)
        logits: dict[str, Tensor] = {
            split: cell.features(split, every).double() @ fitted.weight.T + fitted.bias for split in SPLITS
        }
        return scores(logits, cell)

    def _train(self, cell: Cell, name: str, lr: float) -> Record:
        training = RECIPE.model_copy(update={"seed": cell.seed})
        cache, plan = self.folder / "cache", self._plan(cell, name, lr)
        model = self._start(cell, plan, training)
        trainer = Trainer(model, plan, TASK, training, Batches(cell.packed, self.machine.device), self.machine, cache)
        ends = Ends(trainer)
        begun = time.process_time()
        ends.train()
        spent = time.process_time() - begun
        shutil.rmtree(cache, ignore_errors=True)
        found = scores({split: predicted(model, cell.packed, split, self.machine) for split in SPLITS[1:]}, cell)
        return {
            **found,
            "curve": [round(epoch.validation["accuracy"], 4) for epoch in ends.epochs],
            "losses": [round(epoch.validation["loss"], 4) for epoch in ends.epochs],
            "seconds": round(spent, 3),
            **({"ends": ends.interpolated(partial(self._tested, cell, model))} if name in ENDING else {}),
        }

    def _plan(self, cell: Cell, name: str, lr: float) -> Plan:
        per_epoch = -(-len(cell.packed.rows("train")) // BATCH)
        strategy = trained(name, cell.target.backbone, lr, max(1, round(STEPS[cell.size] / per_epoch)))
        # a mixture is chosen after the training, from what `Ends` records
        return strategy.plan(self.bench.source(cell.target.backbone)[0].groups).model_copy(update={"wise_ft": False})

    def _tested(self, cell: Cell, model: Classifier, weights: Weights) -> float:
        model.load_state_dict(weights)
        return accuracy_of(predicted(model, cell.packed, "test", self.machine), cell.labels("test"))

    def _start(self, cell: Cell, plan: Plan, training: Training) -> Classifier:
        torch.manual_seed(derive(training.seed, "initialise"))
        encoder = self.bench.encoder(cell.target.backbone, plan.start == "head")
        if plan.features == "all":
            encoder = AllDepths(encoder, cell.packed.preprocess.example())
        layers = TASK.head(encoder.feature_dim, len(cell.packed.classes), training.dropout)
        if plan.start == "head":
            install(layers, cell.head(HEAD, plan.features == "all"))
        return Classifier(encoder, layers)


def key(record: Record) -> tuple[Any, ...]:
    """What is trained once."""
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
