"""How else a training of the grid could have ended: interpolations towards its start, soups, its last epoch.

All ends of one training are judged on validation; the test split is written down for those that some rule would choose.
"""

import copy
import time
from collections.abc import Callable
from typing import Any

from torch import Tensor

from tlpipe.train.trainer.checkpoint_selection import Selection
from tlpipe.train.trainer.events import Epoch
from tlpipe.train.trainer.loop import Trainer
from tlpipe.train.trainer.weight_averaging import ALPHAS, Candidate, Weights, interpolate, soup, wise_ft

LAST = 5
"""Epochs that a soup may take in."""
Record = dict[str, Any]


class Ends:
    """A training's start, its best epoch, its last ones."""

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer
        self.start: Weights = copy.deepcopy(trainer.model.state_dict())
        self.recent: list[Candidate] = []
        self.epochs: list[Epoch] = []

    def train(self) -> None:
        """To the end; the model holds what validation chose among the epochs."""
        for event in self.trainer.run():
            if isinstance(event, Epoch):
                weights = copy.deepcopy(self.trainer.model.state_dict())
                self.recent = [*self.recent, (event.epoch, event.validation, weights)][-LAST:]
                self.epochs.append(event)

    def interpolated(self, test: Callable[[Weights], float]) -> Record:
        """Accuracy on test of what each rule ends with, and seconds of one interpolation."""
        selection = self.trainer.selection
        begun = time.process_time()
        best = self._along(selection.best, test)
        spent = time.process_time() - begun - best.pop("test seconds")
        mixed, members = soup(self._candidates(selection), self.trainer.validate, self.trainer.training.monitor)
        last = self._along(self.recent[-1][2], test)
        last.pop("test seconds")
        return {
            "start": test(self.start), "best": best, "last": last, "interpolation": round(spent, 3),
            "soup": {"members": members, "test": test(mixed), "validation": self.trainer.validate(mixed)["accuracy"]},
        }  # fmt: skip

    def _candidates(self, selection: Selection) -> list[Candidate]:
        at = self.trainer.at
        candidates = {each[0]: each for each in self.recent}
        return list({**candidates, at.best_epoch: (at.best_epoch, at.best, selection.best)}.values())

    def _along(self, trained: Weights, test: Callable[[Weights], float]) -> Record:
        _, ending = wise_ft(self.start, trained, self.trainer.validate)
        right = max(ending.tried, key=lambda each: (each["accuracy"], -each["loss"], each["alpha"]))["alpha"]
        wanted = {right, ending.alpha}
        begun = time.process_time()
        tests = {alpha: test(interpolate(self.start, trained, alpha)) for alpha in ALPHAS if alpha in wanted}
        return {
            "accuracy": right, "loss": ending.alpha, "test": tests, "test seconds": time.process_time() - begun,
            "tried": [[each["alpha"], round(each["accuracy"], 4), round(each["loss"], 4)] for each in ending.tried],
        }  # fmt: skip


def accuracy_of(logits: Tensor, labels: Tensor) -> float:
    """The share that is right."""
    return float((logits.argmax(1) == labels).double().mean())
