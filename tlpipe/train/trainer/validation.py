"""Validation figures by which epochs are compared: the task's own, the calibrated loss, and what is monitored.

A loss is compared after one temperature was fitted on the same logits. As it comes it says first of all how sure a
network is: label smoothing raises it, and a start whose penalty was chosen by it has it as low as it can be.
"""

import torch
from torch import Tensor

from tlpipe.config import ConfigError
from tlpipe.data.packed import Packed
from tlpipe.metric_facts import facts
from tlpipe.tasks.base import Scores, Task
from tlpipe.train.trainer.temperature_scaling import fit_temperature

CALIBRATED = "calibrated_loss"
"""The mean loss (nats) after the temperature; what `training.monitor: loss` compares."""
ROUNDS = 40
"""Of the search for the temperature: to a millionth, at half the cost of that at the end of a training."""


class Validation:
    """The figures of one training's validation split, each time that it is looked at."""

    def __init__(self, task: Task, monitor: str, packed: Packed, ties: bool) -> None:
        """`monitor` as in `training.monitor`; `ties`: equal epochs will be told apart by the loss."""
        self.task, self.packed = task, packed
        self.monitor = monitored(task, monitor)
        self.calibrates = ties or self.monitor == CALIBRATED

    def __call__(self, logits: Tensor, labels: Tensor) -> Scores:
        """Of outputs (M, C) in double precision and labels (M,) of all marks, in order.

        Raises:
            ConfigError: what is monitored does not apply to this validation split, or the outputs are not finite.
        """
        scores = self.task.scores(logits, labels, self.packed)
        if self.calibrates:
            calibrated = self._calibrated(logits, labels)
            choices = len(self.task.blind(labels.numpy()).classes)
            scores[CALIBRATED] = float(self.task.likelihood(calibrated, labels)) / choices
        if self.monitor not in scores:
            scores[self.monitor] = self._metric(logits, labels)
        return scores

    def _calibrated(self, logits: Tensor, labels: Tensor) -> Tensor:
        return logits / fit_temperature(logits, labels, self.task.likelihood, ROUNDS)

    def _metric(self, logits: Tensor, labels: Tensor) -> float:
        if not torch.isfinite(logits).all():
            raise ConfigError(
                "the network's outputs on the validation split are not finite: lower `lr` of this strategy (a tenth "
                "is a good try), or set training.clip_norm"
            )
        given = self._calibrated(logits, labels) if self.monitor in self.task.tempered else logits
        value = self.task.metric(self.monitor, given, labels, self.packed)
        if value is None:
            allowed = ", ".join(name for name in self.task.monitors if name != self.monitor)
            raise ConfigError(
                f"training.monitor: {self.monitor} does not apply to this validation split (AUROC needs every class "
                f"there, figures of one kind of question need both kinds); choose one of {allowed}"
            )
        return value


def monitored(task: Task, monitor: str) -> str:
    """The name, in `Scores`, of what `training.monitor` compares epochs by; auto = the task's headline metric."""
    name = task.monitors[0] if monitor == "auto" else monitor
    return CALIBRATED if name == "loss" else name


def lower_is_better(name: str) -> bool:
    """The direction of a figure in `Scores`."""
    return name in ("loss", CALIBRATED) or (name in facts() and not facts()[name].higher_is_better)
