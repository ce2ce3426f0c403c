"""One training of a finetune stage: one strategy with one seed on one view of the data."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch

from tlpipe.data.packed import Packed
from tlpipe.stages.follow import follow, resume, save
from tlpipe.strategies.base import Strategy
from tlpipe.strategies.plan import Plan
from tlpipe.tasks.base import Scores
from tlpipe.train.hardware.device import Machine, Runtime
from tlpipe.train.heads.head import Head
from tlpipe.train.inputs.batches import Batches
from tlpipe.train.model import About
from tlpipe.train.spec import Training
from tlpipe.train.trainer.crossfit import HeldOut, Role
from tlpipe.train.trainer.events import Epoch
from tlpipe.train.trainer.history import said
from tlpipe.train.trainer.initial_models import Starts
from tlpipe.train.trainer.loop import Trainer
from tlpipe.train.trainer.resume import Keeper, run_key
from tlpipe.train.trainer.stuck import Stuck, stuck
from tlpipe.train.trainer.weight_averaging import Weights

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
                break
        save(self.trainer, self.keeper, self.epochs)

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
            weights = self.trainer.trained() if self.training.final == "average" else {}
            if self.setting.machine.team.first:
                epochs = [vars(epoch) for epoch in self.epochs]
                record = {"held_out": self.finished.state(), "epochs": epochs, "weights": weights}
                self.keeper.save({"finished": record})
            del self.trainer
        return self.finished

    @property
    def weights(self) -> Weights:
        """Those that a recorded training ended with, on the CPU."""
        team = self.setting.machine.team
        state = self.keeper.load() if team.first else None
        kept: list[Any] = team.gather(state["finished"]["weights"] if state else None)
        return dict(kept[0])

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
