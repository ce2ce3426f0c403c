"""The trainings of one strategy with one seed: of each part of the data, then of all of it."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from tlpipe.stages.training import Run, Setting, Watch
from tlpipe.strategies.base import Strategy
from tlpipe.strategies.counting import Sizes, summary
from tlpipe.strategies.ending import Ending
from tlpipe.train.heads.linear import path_as_epochs
from tlpipe.train.model import About
from tlpipe.train.trainer.checkpoint_selection import placed
from tlpipe.train.trainer.crossfit import PART, SINGLE, Chosen, Role, choose, labels_of
from tlpipe.train.trainer.events import Epoch
from tlpipe.train.trainer.initial_models import Starts
from tlpipe.train.trainer.loop import Trainer
from tlpipe.train.trainer.stuck import Stuck, another_seed
from tlpipe.train.trainer.temperature_scaling import fit_temperature
from tlpipe.train.trainer.trainable import sizes
from tlpipe.train.trainer.validation import monitored
from tlpipe.train.trainer.weight_averaging import average

HEAD, FEATURES = Path("models/head"), Path("data/features")


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
        setting, parts = self.setting, range(len(self.packed.parts))
        runs = [self._until_it_trains(partial(self.part, index), Run.record) for index in parts]
        records = [(run.record(), run.epochs) for run in runs]
        chosen = choose(setting.head.task, self.plan, setting.training, self.packed, records)
        for epoch in chosen.history:
            watch(epoch)
        if (shipped := self._averaged(runs, chosen)) is not None:
            return shipped
        final = self._until_it_trains(
            lambda seed: Run(setting, self.strategy, self.starts, seed, chosen.role, None), Run.train
        )
        ending = self._ending(chosen, final.trainer)
        return self._trained(self._about(final, chosen[3:5], ending), chosen.logits, chosen.history, final)

    def _averaged(self, runs: Sequence[Run], chosen: Chosen) -> Trained | None:
        """The mean of the folds' weights, if it is wanted and is as good on the labelled samples as they are."""
        wanted = self.setting.training.final == "average" and len(runs) > 1
        if not wanted or chosen.alpha is not None or chosen.epoch < len(chosen.history):
            return None
        judge = Run(self.setting, self.strategy, self.starts, self.seed, Role("last", stop=0), None)
        judge.view = self.packed.pooled
        members = [run.weights for run in runs]
        mean = average(members)
        loss, *losses = (judge.trainer.validate(placed(weights, judge.trainer.model.state_dict()))["loss"]
                         for weights in (mean, *members))  # fmt: skip
        own = sum(losses) / len(losses)
        ships = loss <= own  # never where it is no number
        verdict = "ships" if ships else "does not ship: they are in different basins"
        figures = f"a loss of {loss:.4f} on the labelled samples, its members {own:.4f} on average"
        print(f"{self.setting.name}: the mean of the folds' weights has {figures}; it {verdict}")
        if not ships:
            return None
        ending = Ending(epoch=chosen.epoch, epochs=len(chosen.history), averaged=len(runs))
        about = self._about(judge, chosen[3:5], ending)
        return Trained(about, mean, chosen.logits, chosen.history, self.seconds, self.given_up, judge)

    def _head(self) -> Trained:
        """A head that is all there is to train was fitted, and cross-fitted, to its starting model."""
        role = Role("last")
        final = Run(self.setting, self.strategy, self.starts, self.seed, role, None if self.packed.refit else 0)
        logits, epochs = self.starts.held_out, list[Epoch]()
        if self.plan.features == "all":
            head = self.starts.all_depths
            print(f"features of all depths, tilt {head.tilt:g}, penalty {head.fitted.penalty:g}")
            epochs = path_as_epochs(head.fitted.path, self.packed.learnt, self.starts.seconds)
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
