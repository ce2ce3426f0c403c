"""How the offline default's recipe is chosen without a look at its test split.

    tlpipe stage sample_data && tlpipe stage pretrain
    python -m benchmarks.digits search    # augmentation, rates and epochs, by successive halving
    python -m benchmarks.digits views     # params.yaml's top_layers with new and with kept views, noise and mixup
    python -m benchmarks.digits gap       # params.yaml's strategies with 5, 10 and 20 labels a class

Every seed draws its labelled digits from data/digits/train as the pipeline does, and is the seed of the training too;
accuracy is measured on the digits of that folder that were not drawn. data/digits/test is never opened. Transfer
(`all_layers` and `top_layers` together) and `scratch` get equally many trials under the same augmentations. What was
measured once is kept in .tlpipe/benchmarks/digits.jsonl, a line a training, and is not measured again.
"""

import argparse
import json
import multiprocessing
import statistics
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from itertools import pairwise, product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tlpipe import config
from tlpipe.data.base import Sample
from tlpipe.data.image_folder import ImageFolder
from tlpipe.data.pack import pack
from tlpipe.data.packed import SPLITS, Packed, Split
from tlpipe.data.spec import Data, SplitShares
from tlpipe.data.split import assign
from tlpipe.strategies import AnyStrategy
from tlpipe.strategies.base import Strategy
from tlpipe.strategies.scratch import Scratch
from tlpipe.strategies.unfreeze import AllLayers, TopLayers
from tlpipe.tasks.image_classification.spec import ImageClassification
from tlpipe.train.hardware.device import Runtime
from tlpipe.train.heads.head import Head
from tlpipe.train.inputs.batches import Batches, chunks
from tlpipe.train.inputs.views import views_of
from tlpipe.train.model import Classifier
from tlpipe.train.pretraining.source import load_source, source_encoder
from tlpipe.train.spec import Training
from tlpipe.train.trainer.loop import Trainer
from tlpipe.train.trainer.randomness import derive
from tlpipe.train.trainer.resume import hash_code, hash_files, run_key

POOL = ImageFolder(kind="image_folder", path="data/digits/train")
SOURCE, FOUND = Path("models/source"), Path(".tlpipe/benchmarks/digits.jsonl")
TASK = ImageClassification()
AUGMENTS: dict[str, tuple[tuple[float, float], float, float]] = {
    "mild": ((0.95, 1.05), 4.0, 0.03),
    "medium": ((0.9, 1.1), 7.0, 0.05),
    "strong": ((0.85, 1.15), 10.0, 0.06),
}
"""Zoom, rotation in degrees, shift."""
GRID: dict[str, tuple[tuple[float, ...], tuple[int, ...]]] = {
    "all_layers": ((1e-3, 3e-3), (30,)),
    "top_layers": ((1e-3, 3e-3), (30,)),
    "scratch": ((2e-3, 5e-3), (40, 80)),
}
"""Rates, and epochs of the last phase, that each strategy tries under each augmentation."""
SIDES = (("all_layers", "top_layers"), ("scratch",))
RUNGS = ((1, 1), (3, 1))
"""(seeds of each trial, trials of a side and an augmentation that are still in after them)."""
TO_THE_END = 100
"""Patience that no phase of the grid exhausts: a cosine that is cut off half-way would handicap the long schedules."""
VIEWS: tuple[tuple[int, float, float], ...] = (
    (0, 0, 0), (4, 0, 0), (8, 0, 0), (4, 0.1, 0), (4, 0.3, 0), (0, 0, 0.2), (4, 0, 0.2),
)  # fmt: skip
"""(kept views, noise on what is kept, mixup): mixup is of pixels without kept views, and at the boundary with them."""
LABELS = 20
"""A class, of the search."""
Variant = tuple[Strategy, Training]


@dataclass(frozen=True)
class Job:
    """One training: everything that decides its result but the code and the source weights."""

    strategy: Strategy
    training: Training
    labels: int
    """A class, training and validation together."""

    def key(self, source: str) -> str:
        """Its place among what was found."""
        parts = self.strategy.model_dump(), self.training.model_dump(), self.labels, self.training.seed
        return run_key(source, *parts)


def jobs(variant: Variant, labels: int, seeds: int) -> list[Job]:
    """One a seed."""
    strategy, training = variant
    return [Job(strategy, training.model_copy(update={"seed": seed}), labels) for seed in range(seeds)]


def strategy_of(name: str, lr: float, epochs: int) -> Strategy:
    """What the strategy's section of params.yaml would be."""
    if name == "scratch":
        return Scratch(kind="scratch", lr=lr, epochs=epochs)
    if name == "top_layers":
        return TopLayers(kind="top_layers", layers=3, lr=lr, gamma=0.7, stage_epochs=5, epochs=epochs)
    return AllLayers(kind="all_layers", lr=lr, gamma=0.7, stages=2, stage_epochs=5, epochs=epochs)


def augmented(base: Training, name: str) -> Training:
    """The shared recipe with this augmentation, no kept views, and every phase trained to its end."""
    zoom, rotate, shift = AUGMENTS[name]
    augment = base.augment.model_copy(update={"zoom": zoom, "rotate": rotate, "shift": shift})
    cache = base.cache.model_copy(update={"views": 0})
    return base.model_copy(update={"augment": augment, "patience": TO_THE_END, "cache": cache})


class Bench:
    """The pool, the source backbone and its frozen features: read or made once a process."""

    def __init__(self, cache: Path) -> None:
        self.machine, self.cache = Runtime(device="cpu", threads=1).resolve(), cache
        self.source, self.logistic = load_source(SOURCE), config.load("head", Head)
        with TemporaryDirectory() as folder:
            report = pack(
                Data(source=POOL), "image_classification", self.source.preprocess, Path(folder, "packed"), workers=1
            )
            self.pool = Packed.open(Path(folder, "packed"))
            self.images, ids = np.array(self.pool.samples), self.pool.ids
        # The pipeline's ids begin with the split's folder, and the draw depends on them.
        self.samples = [Sample(id=f"train/{name}", label=name.partition("/")[0]) for name in ids]
        place = {name: row for row, name in enumerate(ids)}
        near = [[place[name] for name in group["ids"]] for group in report["duplicates"]["near"]]
        self.copies = [(group[0], other) for group in near for other in group[1:]]
        self.features = self._features()

    @torch.inference_mode()
    def _features(self) -> Tensor:
        encoder = self.machine.place(source_encoder(SOURCE, self.source).eval())
        views = views_of(self.pool.preprocess, self.machine.device)
        return torch.cat([encoder(views.evaluation(part)) for part in torch.from_numpy(self.images).split(250)])

    def draw(self, labels: int, seed: int) -> tuple[Packed, Tensor]:
        """The labelled digits (train, validation) and all others of the pool (as `test`); their frozen features."""
        shares = SplitShares(folds=None, validation=0.25, test=None, seed=seed)
        data = Data(source=POOL, split=shares, limit_per_class=labels)
        assigned = assign(self.samples, range(len(self.samples)), self.copies, data)
        used = assigned.splits
        parts = [*([row for row in sorted(used) if used[row] == split] for split in SPLITS[:2]), assigned.unused]
        rows = np.concatenate([np.array(part, np.int64) for part in parts])
        ends = np.cumsum([0, *map(len, parts)]).tolist()
        packed = replace(
            self.pool, samples=self.images[rows], labels=self.pool.labels[rows], fingerprint=f"digits/{labels}/{seed}",
            ranges=dict(zip(SPLITS, pairwise(ends), strict=True)),
        )  # fmt: skip
        return packed, self.features[torch.from_numpy(rows)]

    def start(self, job: Job, start: str, packed: Packed, features: Tensor) -> Classifier:
        """The head stage's model, or fresh weights."""
        torch.manual_seed(derive(job.training.seed, "initialise"))
        encoder = self.source.backbone.encoder() if start == "random" else source_encoder(SOURCE, self.source)
        layers = TASK.head(encoder.feature_dim, len(packed.classes), job.training.dropout)
        if start == "head":
            pairs = [(features[slice(*packed.ranges[name])], _labels(packed, name)) for name in SPLITS[:2]]
            fitted = self.logistic.fit(pairs[0], pairs[1], len(packed.classes))
            linear = next(module for module in layers.modules() if isinstance(module, nn.Linear))
            linear.load_state_dict({"weight": fitted.weight, "bias": fitted.bias})
        return Classifier(encoder, layers)

    def train(self, job: Job) -> dict[str, float]:
        """Accuracy on the pool's other digits, and seconds of this process's CPU time."""
        begun = time.process_time()
        packed, features = self.draw(job.labels, job.training.seed)
        plan, batches = job.strategy.plan(self.source.groups), Batches(packed, self.machine.device)
        model = self.start(job, plan.start, packed, features)
        trainer = Trainer(model, plan, TASK, job.training, batches, self.machine, self.cache)
        for _ in trainer.run():
            pass
        views, seconds = views_of(packed.preprocess, self.machine.device), time.process_time() - begun
        with torch.inference_mode():
            images = batches.samples.stream(chunks(packed.rows("test"), 250))
            parts = [model.eval()(views.evaluation(part)).argmax(1) for part in images]
        accuracy = float((torch.cat(parts) == _labels(packed, "test")).double().mean())
        return {"accuracy": accuracy, "seconds": seconds}


def _labels(packed: Packed, split: Split) -> Tensor:
    return torch.from_numpy(packed.labels[slice(*packed.ranges[split])])


BENCH: list[Bench] = []


def _begin(cache: Path) -> None:
    BENCH.append(Bench(cache))


def _train(job: Job) -> dict[str, float]:
    return BENCH[0].train(job)


class Runner:
    """Trains what was not trained before, in as many processes of one thread as asked for."""

    def __init__(self, processes: int, cache: Path) -> None:
        self.source = run_key(hash_files([SOURCE]), hash_code("finetune"))
        lines = FOUND.read_text().splitlines() if FOUND.is_file() else []
        self.found: dict[str, dict[str, Any]] = {record["key"]: record for record in map(json.loads, lines)}
        FOUND.parent.mkdir(parents=True, exist_ok=True)
        self.pool = ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), _begin, (cache,))

    def run(self, wanted: Sequence[Job]) -> None:
        """Every job's record is in `found` and on disk afterwards."""
        waiting = {job.key(self.source): job for job in wanted}
        waiting = {key: job for key, job in waiting.items() if key not in self.found}
        for (key, job), result in zip(waiting.items(), self.pool.map(_train, waiting.values()), strict=True):
            self.found[key] = {"key": key, "strategy": job.strategy.model_dump(), "labels": job.labels, **result}
            with FOUND.open("a") as file:
                file.write(json.dumps(self.found[key]) + "\n")

    def results(self, wanted: Sequence[Job], figure: str = "accuracy") -> list[float]:
        """A figure of each job that was trained."""
        keys = [job.key(self.source) for job in wanted]
        return [self.found[key][figure] for key in keys if key in self.found]


def trials(base: Training, side: Sequence[str], augment: str) -> dict[str, Variant]:
    """Every point of a side's grid under one augmentation."""
    points = [(name, *point) for name in side for point in product(*GRID[name])]
    training = augmented(base, augment)
    return {
        f"{augment} | {name} | {lr:g} | {epochs}": (strategy_of(name, lr, epochs), training)
        for name, lr, epochs in points
    }


def search(runner: Runner, base: Training) -> None:
    """Successive halving within each side and augmentation; then a table of all trials."""
    everything = [trials(base, side, augment) for side in SIDES for augment in AUGMENTS]
    alive = everything
    for seeds, keep in RUNGS:
        runner.run([job for group in alive for trial in group.values() for job in jobs(trial, LABELS, seeds)])
        alive = [_best(runner, group, seeds, keep) for group in alive]
    print("| augmentation | strategy | lr | epochs | seeds | mean accuracy | of seed 0 |")
    print("|---|---|---|---|---|---|---|")
    for label, trial in (pair for group in everything for pair in group.items()):
        found = runner.results(jobs(trial, LABELS, RUNGS[-1][0]))
        print(f"| {label} | {len(found)} | {statistics.mean(found):.4f} | {found[0]:.4f} |")


def _best(runner: Runner, group: dict[str, Variant], seeds: int, keep: int) -> dict[str, Variant]:
    """The trials with the highest mean accuracy."""
    means = {label: statistics.mean(runner.results(jobs(trial, LABELS, seeds))) for label, trial in group.items()}
    return {label: group[label] for label in sorted(group, key=lambda label: -means[label])[:keep]}


def compare(runner: Runner, variants: dict[str, Variant], reference: str, budgets: Sequence[int], seeds: int) -> None:
    """A table of accuracies, and of the differences to `reference` on the same draws."""
    runner.run([job for n in budgets for variant in variants.values() for job in jobs(variant, n, seeds)])
    print(f"| labels a class | | mean accuracy | lowest | minus {reference}, points (deviation) | CPU seconds |")
    print("|---|---|---|---|---|---|")
    for labels, name in product(budgets, variants):
        own = jobs(variants[name], labels, seeds)
        found, other = runner.results(own), runner.results(jobs(variants[reference], labels, seeds))
        gains = [100 * (ours - theirs) for ours, theirs in zip(found, other, strict=True)]
        paired = f"{statistics.mean(gains):+.2f} ({statistics.stdev(gains):.2f})"
        seconds = statistics.mean(runner.results(own, "seconds"))
        print(f"| {labels} | {name} | {statistics.mean(found):.4f} | {min(found):.4f} | {paired} | {seconds:.1f} |")


def kept_views(base: Training) -> dict[str, Variant]:
    """params.yaml's top_layers, with new views each epoch and with kept ones."""
    strategy, variants = config.load("finetune.top_layers", AnyStrategy), {}
    for views, noise, mixup in VIEWS:
        cache = base.cache.model_copy(update={"views": views, "noise": noise})
        augment = base.augment.model_copy(update={"mixup": mixup})
        variants[_named(views, noise, mixup)] = strategy, base.model_copy(update={"cache": cache, "augment": augment})
    return variants


def _named(views: int, noise: float, mixup: float) -> str:
    return f"{views} views" + (f", noise {noise:g}" if noise else "") + (f", mixup {mixup:g}" if mixup else "")


def main() -> None:
    """One of the three measurements."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["search", "views", "gap"])
    parser.add_argument("--processes", type=int, default=2, help="of one thread each")
    parser.add_argument("--seeds", type=int, default=5, help="of `views` and `gap`")
    parser.add_argument("--labels", type=int, nargs="+", default=[5, 10, 20], help="a class, of `gap`")
    asked = parser.parse_args()
    base: Training = config.load("training", Training)
    with TemporaryDirectory() as cache:
        runner = Runner(asked.processes, Path(cache))
        if asked.what == "search":
            search(runner, base)
        elif asked.what == "views":
            compare(runner, kept_views(base), _named(*VIEWS[0]), [LABELS], asked.seeds)
        else:
            specs = {name: config.load(f"finetune.{name}", AnyStrategy) for name in config.read()["strategies"]}
            variants = {name: (spec, base) for name, spec in specs.items()}
            compare(runner, variants, "scratch", asked.labels, asked.seeds)
        runner.pool.shutdown()


if __name__ == "__main__":
    main()
