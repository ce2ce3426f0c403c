"""finetune: one strategy from the head stage's model, or from fresh weights; killed anywhere, it goes on."""

import argparse
import json
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from stages.race import Lap, settle
from stages.shell import follow, resume, run
from tlpipe import config
from tlpipe.data.packed import SPLITS, Packed
from tlpipe.endings import leave
from tlpipe.plan_table import render
from tlpipe.strategies import AnyStrategy
from tlpipe.strategies.base import Strategy
from tlpipe.strategies.counting import account, summary
from tlpipe.strategies.plan import Plan
from tlpipe.tracking import Recorder, Tracking, code_tags, curve_values, dvc_tags, hardware_tags, source_tags
from tlpipe.train.adapt import sizes
from tlpipe.train.batches import Batches
from tlpipe.train.calibrate import fit_temperature
from tlpipe.train.checkpoint import Keeper, hash_code, hash_files, run_key
from tlpipe.train.device import Machine, Runtime
from tlpipe.train.embed import Features
from tlpipe.train.events import Epoch
from tlpipe.train.fit import Trainer
from tlpipe.train.head import Head
from tlpipe.train.history import said, write_history, write_json
from tlpipe.train.linear import path_as_epochs
from tlpipe.train.model import About, Classifier, load_about, save_model
from tlpipe.train.spec import Training
from tlpipe.train.start import all_depths_model, starting_model
from tlpipe.train.stuck import Stuck, another_seed, stuck

HEAD, PACKED, FEATURES = Path("models/head"), Path("data/packed"), Path("data/features")
MONITOR = Path("data/monitor.json")
"""What `training.monitor` is, as `check` wrote it: `auto` goes by another section."""
FINETUNED, SEEDS, REPORTS = Path("models/finetuned"), Path("models/seeds"), Path("reports/training")
SHOWN = ("task", "data", "backbone", "runtime", "head", "training")
"""Sections of params.yaml that a run shows in MLflow besides its own strategy."""


def main(name: str) -> None:
    """Write models/finetuned/<name>/, models/seeds/<name>/ and reports/training/<name>/."""
    strategy: Strategy = config.load(f"finetune.{name}", AnyStrategy)
    training: Training = config.load("training", Training).model_copy(update=json.loads(MONITOR.read_text()))
    runtime: Runtime = config.load("runtime", Runtime)
    packed, head = Packed.open(PACKED), load_about(HEAD)
    machine = runtime.resolve(head.backbone.hidden_size)
    samples, inputs = len(packed.rows("train")), (packed.fingerprint, hash_files([HEAD]), hash_code())

    def prepare(strategy: Strategy, seed: int = training.seed, attempt: int = 0) -> Run:
        once = training.model_copy(update={"seed": another_seed(seed, attempt), "seeds": 1})
        specs = [each.model_dump() for each in (strategy, once, runtime, head.task)]
        key, plan = run_key("finetune", name, *specs, *inputs), strategy.plan(head.plan.groups, training.scale(samples))
        return Run(name, key, plan, head, once, packed, machine)

    def contend(strategy: Strategy) -> tuple[Trainer, Keeper]:
        one = prepare(strategy)
        return one.trainer, one.keeper

    settled, laps = settle(name, strategy, contend)
    repeat = partial(_until_it_trains, partial(prepare, settled), training.retries)
    one, took = repeat(training.seed, Run.first)
    others = range(training.seed + 1, training.seed + training.seeds) if one.trainer.plan.phases else ()
    trained = [took, *(repeat(seed, partial(Run.again, seed=seed))[1] for seed in others)]
    if machine.team.first:
        write_json(SEEDS / name / "seeds.json", list(others))
        _timing(name, trained, laps, machine, one.trainer)
        one.keeper.drop_all()


@dataclass(frozen=True)
class Took:
    """What a training took, those that got stuck before it included."""

    seconds: float
    stuck: tuple[Stuck, ...] = ()


def _until_it_trains(
    prepare: Callable[[int, int], "Run"], retries: int, seed: int, train: Callable[["Run"], float]
) -> tuple["Run", Took]:
    """Train with other seeds while a training is stuck; the last one stays, and what came before is in the `Took`.

    A stuck training's state stays until the stage is done, so that a killed stage finds again what it had found.
    """
    seconds, found = 0.0, list[Stuck]()
    for attempt in range(retries + 1):
        one = prepare(seed, attempt)
        seconds += train(one)
        if one.stuck is None:
            break
        found.append(one.stuck)
        what = "is trained again with another seed" if attempt < retries else "stays as it is: training.retries is over"
        print(f"{one.name} got stuck and {what}: {one.stuck.describe()}", file=sys.stderr)
    return one, Took(seconds, tuple(found))


class Run:
    """One training of a strategy, with one seed."""

    def __init__(
        self, name: str, key: str, plan: Plan, head: About, training: Training, packed: Packed, machine: Machine
    ) -> None:
        self.name, self.key, self.head, self.packed, self.machine = name, key, head, packed, machine
        model, self.fitted = _start(plan, training, packed)
        self.sizes = sizes(model, plan)
        self.trainer = Trainer(model, plan, head.task, training, Batches(packed, machine.device), machine)
        self.keeper = Keeper(f"finetune-{name}", key)
        self.stuck: Stuck | None = None

    def first(self) -> float:
        """The training whose model is the strategy's; seconds that it took."""
        trainer, samples = self.trainer, len(self.trainer.rows)
        plan = account(trainer.plan, self.sizes, trainer.training.decay(samples), samples)
        Console().print(render(plan, self.name), self.machine.describe())
        journal = _journal(self.name, self.key, self.packed, self.machine)
        journal.plan(plan)
        epochs = self.fitted or self._train(journal)
        about, weights = self._about(), trainer.trained()
        if self.machine.team.first:
            save_model(FINETUNED / self.name, weights, about)
            _report(REPORTS / self.name, epochs, plan)
            journal.model(FINETUNED / self.name)
        if self.stuck is not None:
            journal.tags({"stuck": self.stuck.describe()})
        if about.ending is not None:
            journal.tags(about.ending.tags())
        journal.end()
        _say(self.name, about)
        print(f"{self.name}: validation {said(about.validation)}, temperature {about.temperature:g}")
        return sum(epoch.seconds for epoch in epochs)

    def again(self, seed: int) -> float:
        """One more training, for the spread of the figures, in the place of `seed`; seconds that it took."""
        epochs = self._train(Recorder())
        about, weights = self._about(), self.trainer.trained()
        if self.machine.team.first:
            save_model(SEEDS / self.name / str(seed), weights, about)
        _say(f"{self.name}, seed {seed}", about)
        print(f"{self.name}, seed {seed}: validation {said(about.validation)}")
        return sum(epoch.seconds for epoch in epochs)

    def _train(self, journal: Recorder) -> list[Epoch]:
        epochs = resume(self.trainer, self.keeper)
        print(*self.trainer.frozen.describe(), sep="\n")
        for epoch in follow(self.trainer, self.keeper, self.name, epochs):
            journal.metrics(epoch.step, curve_values(epoch.row()))
            print(
                f"{self.name} {epoch.phase} epoch {epoch.epoch}: train loss {epoch.train_loss:.4f}, "
                f"validation {said(epoch.validation)}"
            )
        self.stuck = self._verdict(epochs)
        return epochs

    def _verdict(self, epochs: list[Epoch]) -> Stuck | None:
        if not epochs:
            return None
        targets, ranges = self.packed.targets, self.packed.ranges
        marks = (targets.marks[slice(*targets.range(*ranges[split]))] for split in SPLITS[:2])
        train, validation = map(self.head.task.blind, marks)
        return stuck(epochs[-1], train, validation, len(self.packed.classes), self.trainer.training)

    def _about(self) -> About:
        trainer = self.trainer
        logits, labels = trainer.scores()
        temperature = fit_temperature(logits, labels, trainer.task.likelihood)
        facts = summary(trainer.plan, self.sizes)
        changed = {
            "strategy": self.name,
            "run_key": self.key,
            "dropout": trainer.training.dropout,
            "temperature": temperature,
            "fitted": trainer.task.fitted(logits / temperature, labels, self.packed),
            "validation": trainer.task.scores(logits, labels, self.packed),
            "plan": trainer.plan,
            "total_parameters": facts["parameters"],
            "trainable_parameters": facts["trainable"],
            "ending": trainer.selection.ending,
        }
        return self.head.model_copy(update=changed)


def _say(name: str, about: About) -> None:
    """How the training ended; a line each on stdout."""
    for line in about.ending.describe() if about.ending else ():
        print(f"{name}: {line}")


def _start(plan: Plan, training: Training, packed: Packed) -> tuple[Classifier, list[Epoch]]:
    """The model that training begins with, and for a head that is all there is to train the path of its penalties."""
    if plan.features == "last":
        return starting_model(plan, HEAD, training), []
    features, begun = Features.open(FEATURES), time.perf_counter()
    dropout = training.dropout if plan.phases else 0.0
    model, fitted, tilt = all_depths_model(HEAD, config.load("head", Head), packed, features, dropout)
    dims, spent = model.encoder.feature_dim, time.perf_counter() - begun
    print(f"features of {len(features.groups)} depths ({dims:,} in all), tilt {tilt:g}, penalty {fitted.penalty:g}")
    return model, [] if plan.phases else path_as_epochs(fitted, len(packed.rows("train")), spent)


def _journal(name: str, key: str, packed: Packed, machine: Machine) -> Recorder:
    tracking: Tracking = config.load("tracking", Tracking)
    if not machine.team.first:
        tracking = tracking.model_copy(update={"enabled": False})
    journal = tracking.journal(key, name)
    raw = config.read()
    journal.params({**{section: raw[section] for section in SHOWN}, "strategy": raw["finetune"][name]})
    versions = dvc_tags((PACKED, Path("models/source"), HEAD))
    hardware = hardware_tags(machine.describe(), machine.precision)
    journal.tags({**code_tags(), **source_tags(f"finetune@{name}"), **versions, **hardware})
    place = str(raw["data"]["source"]["path"])
    journal.dataset(Path(place).name, packed.fingerprint, place)
    return journal


def _report(folder: Path, epochs: list[Epoch], plan: dict[str, Any]) -> None:
    write_json(folder / "plan.json", plan)
    if epochs:
        write_history(folder / "history.csv", epochs)
    else:
        shutil.copyfile("reports/training/head/history.csv", folder / "history.csv")


def _timing(name: str, trained: list[Took], laps: Sequence[Lap], machine: Machine, trainer: Trainer) -> None:
    """What each training took; `seconds` is the first one's with the race before it, as if there were no other."""
    lost = sum(lap["seconds"] for lap in laps if not lap["chosen"])
    first, *repeats = trained
    timing = {"seconds": first.seconds + lost, "repeats": [took.seconds for took in repeats]}
    found = [each.record() for took in trained for each in took.stuck]
    frozen = {"frozen": trainer.frozen.describe(), "stuck": found, **({"race": laps} if laps else {})}
    timing = {**timing, "device": machine.describe()}
    write_json(REPORTS / name / "timing.json", {**timing, "precision": machine.precision, **frozen})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("strategy")
    asked = parser.parse_args().strategy
    run(partial(main, asked), together=True, trains=f"finetune-{asked}")
    leave()
