"""The trainings of one strategy with one seed: of each part of the data, then of all of it."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from tlpipe.data.packed import Packed
from tlpipe.stages.follow import follow, resume, save
from tlpipe.strategies.base import Strategy
from tlpipe.strategies.counting import Sizes, summary
from tlpipe.strategies.ending import Ending
from tlpipe.strategies.plan import Plan
from tlpipe.tasks.base import Scores
from tlpipe.train.adapt import sizes
from tlpipe.train.batches import Batches
from tlpipe.train.calibrate import fit_temperature
from tlpipe.train.checkpoint import Keeper, run_key
from tlpipe.train.crossfit import PART, SINGLE, Chosen, HeldOut, Role, choose, labels_of
from tlpipe.train.device import Machine, Runtime
from tlpipe.train.events import Epoch
from tlpipe.train.fit import Trainer
from tlpipe.train.head import Head
from tlpipe.train.history import said
from tlpipe.train.linear import path_as_epochs
from tlpipe.train.model import About
from tlpipe.train.spec import Training
from tlpipe.train.start import Starts
from tlpipe.train.stuck import Stuck, another_seed, stuck
from tlpipe.train.validation import monitored

HEAD, FEATURES = Path("models/head"), Path("data/features")
Watch = Callable[[Epoch], None]
"""What is done with each epoch of a training as it ends."""


@dataclass(frozen=True)
class Setting:
    """What all trainings of one finetune stage share."""

    name: str
    packed: Packed
    head: About
    training: Training
    runtime: Runtime
    spec: Head
    machine: Machine
    inputs: tuple[str, ...]
    """Hashes of everything that the stage reads."""

    def plan(self, strategy: Strategy) -> Plan:
        """The same for every part of the data: `auto` counts the rows that the shipped model learns from."""
        batch_norms = self.head.backbone.skeleton().batch_norms
        return strategy.plan(self.head.plan.groups, self.training.scale(self.packed.learnt, batch_norms))


class Run:
    """One training: with one seed, on one view of the data. Killed anywhere, it goes on and ends with the same bits."""

    def __init__(
        self, setting: Setting, strategy: Strategy, starts: Starts, seed: int, role: Role, part: int | None
    ) -> None:
        """`part` is the number of the view that holds out a fold or the validation split; None = all labelled rows."""
        self.setting, self.starts, self.role, self.part = setting, starts, role, part
        packed = setting.packed
        self.view = packed.whole if part is None else packed.parts[part]
        self.interpolates = starts.plan.wise_ft
        self.training = setting.training.model_copy(update={"seed": seed, "seeds": 1})
        settings = (strategy, self.training, setting.runtime, setting.spec, setting.head.task)
        specs = [section.model_dump() for section in settings]
        self.key = run_key("finetune", setting.name, *specs, *setting.inputs, part, vars(role))
        self.keeper = Keeper(f"finetune-{setting.name}", self.key)
        self.epochs: list[Epoch] = []

    @cached_property
    def trainer(self) -> Trainer:
        """At its beginning; `train` brings it to where it was, and on."""
        setting, machine = self.setting, self.setting.machine
        model = self.starts.model(self.training, self.part)
        batches = Batches(self.view, machine.device)
        return Trainer(model, self.starts.plan, setting.head.task, self.training, batches, machine, role=self.role)

    @property
    def title(self) -> str:
        """The strategy, and the part where there are several trainings."""
        parts = len(self.setting.packed.parts)
        if self.part is None:
            return f"{self.setting.name} on all labels"
        return f"{self.setting.name} fold {self.part + 1}/{parts}" if parts > 1 else self.setting.name

    def train(self, watch: Watch | None = None) -> None:
        """Run it to its end, with a line an epoch."""
        self.epochs = resume(self.trainer, self.keeper)
        print(*self.trainer.frozen.describe(), sep="\n")
        for epoch in follow(self.trainer, self.keeper, self.title, self.epochs):
            if watch is not None:
                watch(epoch)
            figures = f", validation {said(epoch.validation)}" if epoch.validation else ""
            print(f"{self.title} {epoch.phase} epoch {epoch.epoch}: train loss {epoch.train_loss:.4f}{figures}")

    def advance(self, epochs: int | None) -> None:
        """Train until so many epochs are done, if it is not further already; None = to its end."""
        if self.finished is not None:
            return
        if epochs is None:
            if self.role.records:
                self.record()
            else:
                self.train()
            return
        self.epochs = resume(self.trainer, self.keeper)
        if len(self.epochs) >= epochs:
            return
        for _ in follow(self.trainer, self.keeper, self.title, self.epochs):
            if len(self.epochs) >= epochs:
                save(self.trainer, self.keeper, self.epochs)  # here it pauses, whatever was due
                return

    @cached_property
    def finished(self) -> HeldOut | None:
        """What it recorded, if it was trained to its end before."""
        team = self.setting.machine.team
        state = team.gather(self.keeper.load() if team.first else None)[0] or {}
        if "finished" not in state:
            return None
        self.epochs = [Epoch(**epoch) for epoch in state["finished"]["epochs"]]
        return HeldOut.restore(state["finished"]["held_out"])

    def record(self) -> HeldOut:
        """Train, and keep what it predicts of what it holds out in place of its recovery state."""
        if self.finished is None:
            self.train()
            self.finished = self.trainer.held_out
            if self.setting.machine.team.first:
                epochs = [vars(epoch) for epoch in self.epochs]
                self.keeper.save({"finished": {"held_out": self.finished.state(), "epochs": epochs}})
            del self.trainer
        return self.finished

    def scores(self) -> Scores:
        """Figures of what it holds out at its end, or before it began; of blends with the start, of the likeliest."""
        task, targets = self.setting.head.task, self.setting.packed.targets
        held = self.finished
        if held is None:
            return self.trainer.validate()
        labels = torch.from_numpy(targets.marks[self.view.marks("validation")])
        ends = held.blended or [held.epochs[-1] if held.ended is None else held.ended]
        tried = [task.scores(logits.double(), labels, self.view) for logits in ends]
        return min(tried, key=lambda scores: scores["loss"])

    @property
    def stuck(self) -> Stuck | None:
        """The proof that it learnt nothing, or None."""
        if not self.epochs:
            return None
        targets, task = self.setting.packed.targets, self.setting.head.task
        train = task.blind(targets.marks[self.view.marks("train")])
        held = targets.marks[self.view.marks("validation")]
        validation = task.blind(held) if len(held) else None
        return stuck(self.epochs[-1], train, validation, len(self.setting.packed.classes), self.training)


class Trained(NamedTuple):
    """A strategy's model, and how it came about."""

    about: About
    weights: dict[str, Tensor]
    held_out: Tensor
    """Logits (M, C) of held-out marks, each by a model that has not seen it."""
    epochs: list[Epoch]
    """Of all parts of the data as one training; a head's path of penalties."""
    seconds: float
    stuck: list[Stuck]
    """Trainings that were given up, and one that stayed for want of retries."""
    final: Run


class CrossFit:
    """One strategy with one seed: choices on held-out predictions, then the model that ships."""

    def __init__(self, setting: Setting, strategy: Strategy, seed: int) -> None:
        self.setting, self.strategy, self.seed = setting, strategy, seed
        self.plan, self.packed = setting.plan(strategy), setting.packed
        self.starts = Starts(self.plan, HEAD, setting.spec, self.packed, FEATURES)
        self.key = self.part(0).key
        """Identity of the strategy's run in MLflow."""
        self.given_up: list[Stuck] = []
        self.seconds = 0.0

    def part(self, part: int, seed: int | None = None) -> Run:
        """The training that holds out part number `part`."""
        single = replace(SINGLE, keeps="last") if self.setting.training.keep == "last" else SINGLE
        role = PART if self.packed.refit else single
        return Run(self.setting, self.strategy, self.starts, self.seed if seed is None else seed, role, part)

    def sizes(self) -> Sizes:
        """Parameters of each layer group."""
        return sizes(self.starts.model(self.setting.training), self.plan)

    def run(self, watch: Watch) -> Trained:
        """Train, choose, and train on all labelled rows where the data say so. `watch` gets each epoch of all parts."""
        if not self.plan.phases:
            return self._head()
        if not self.packed.refit:
            final = self._until_it_trains(partial(self.part, 0), lambda run: run.train(watch))
            trainer = final.trainer
            logits, labels = trainer.scores()
            about = self._about(final, (logits, labels), trainer.selection.ending)
            return self._trained(about, logits, final.epochs, final)
        records, setting = list[tuple[HeldOut, list[Epoch]]](), self.setting
        for index in range(len(self.packed.parts)):
            run = self._until_it_trains(partial(self.part, index), Run.record)
            records.append((run.record(), run.epochs))
        chosen = choose(setting.head.task, self.plan, setting.training, self.packed, records)
        for epoch in chosen.history:
            watch(epoch)
        final = self._until_it_trains(
            lambda seed: Run(setting, self.strategy, self.starts, seed, chosen.role, None), Run.train
        )
        ending = self._ending(chosen, final.trainer)
        return self._trained(self._about(final, chosen[3:5], ending), chosen.logits, chosen.history, final)

    def _head(self) -> Trained:
        """A head that is all there is to train was fitted, and cross-fitted, to its starting model."""
        role = Role("last")
        final = Run(self.setting, self.strategy, self.starts, self.seed, role, None if self.packed.refit else 0)
        logits, epochs = self.starts.held_out, list[Epoch]()
        if self.plan.features == "all":
            head = self.starts.all_depths
            print(f"features of all depths, tilt {head.tilt:g}, penalty {head.fitted.penalty:g}")
            epochs = path_as_epochs(head.fitted, self.packed.learnt, self.starts.seconds)
            self.seconds += self.starts.seconds
        return self._trained(self._about(final, (logits, labels_of(self.packed)), None), logits, epochs, final)

    def _until_it_trains(self, prepare: Callable[[int], Run], train: Callable[[Run], object]) -> Run:
        """Train with other seeds while a training is stuck; the last one stays.

        A stuck training's state stays until the stage is done, so that a killed stage finds again what it had found.
        """
        retries = self.setting.training.retries
        for attempt in range(retries + 1):
            run = prepare(another_seed(self.seed, attempt))
            train(run)
            self.seconds += sum(epoch.seconds for epoch in run.epochs)
            proof = run.stuck
            if proof is None:
                break
            self.given_up.append(proof)
            what = "is trained again with another seed" if attempt < retries else "stays: training.retries is over"
            print(f"{run.title} got stuck and {what}: {proof.describe()}", file=sys.stderr)
        return run

    def _trained(self, about: About, logits: Tensor, epochs: list[Epoch], final: Run) -> Trained:
        return Trained(about, final.trainer.trained(), logits, epochs, self.seconds, self.given_up, final)

    def _ending(self, chosen: Chosen, trainer: Trainer) -> Ending:
        """What the model that learnt from all labelled rows ended with, as it was chosen on those held out."""
        members = tuple(epoch for epoch, _, _ in trainer.selection.recent) if self.plan.soup else None
        compared = self.setting.training.keep == "best" and not (self.plan.soup or self.plan.wise_ft)
        return Ending(
            epoch=chosen.epoch,
            epochs=len(chosen.history),
            monitor=monitored(trainer.task, trainer.training.monitor) if compared else None,
            kept_start=chosen.epoch == 0 or chosen.alpha == 0,
            soup=members,
            alpha=chosen.alpha,
            tried=chosen.tried,
        )

    def _about(self, final: Run, held: Sequence[Tensor], ending: Ending | None) -> About:
        (logits, labels), head, view = held, self.setting.head, self.packed.pooled
        task, facts = head.task, summary(self.plan, self.sizes())
        temperature = fit_temperature(logits, labels, task.likelihood)
        changed: dict[str, Any] = {
            "strategy": self.setting.name,
            "run_key": self.key,
            "dropout": final.training.dropout,
            "temperature": temperature,
            "fitted": task.fitted(logits / temperature, labels, view),
            "validation": task.scores(logits, labels, view),
            "plan": self.plan,
            "total_parameters": facts["parameters"],
            "trainable_parameters": facts["trainable"],
            "ending": ending,
            "folds": len(self.packed.folds),
            "refit": self.packed.refit,
        }
        return head.model_copy(update=changed)
