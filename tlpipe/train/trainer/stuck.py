"""Trainings that did not get off the ground: in the end they say no more than how common each class is.

Known from fine-tuning BERT on few samples (Mosbach et al. 2021, arXiv 2006.04884; Zhang et al. 2021, arXiv 2006.05987):
with the same settings and another seed most of them train.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlpipe.tasks.base import Blind
from tlpipe.train.inputs.batches import class_weights
from tlpipe.train.spec import Training
from tlpipe.train.trainer.events import Epoch
from tlpipe.train.trainer.randomness import derive

NEAR = 0.98
"""Share of the constant answer's loss that a training has to come below."""
ERRORS = 2.0
"""Standard errors by which luck alone may put validation accuracy above the most frequent class."""
Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Stuck:
    """What shows that a training is stuck; losses in nats."""

    seed: int
    train_loss: float
    """Of its last epoch."""
    constant_loss: float
    """Of always answering with the classes' shares, under the same smoothing and weights."""
    validation_accuracy: float | None
    """Of its last epoch; None where no sample validates."""
    majority: float | None
    """Of a constant answer: the share of the validation split's most frequent class."""

    def describe(self) -> str:
        """A sentence."""
        losses = (
            f"with seed {self.seed} the training ended at a loss of {self.train_loss:.3f} (a constant answer has "
            f"{self.constant_loss:.3f})"
        )
        if self.validation_accuracy is None:
            return losses
        return (
            f"{losses} and a validation accuracy of {self.validation_accuracy:.3f} (the most frequent class has "
            f"{self.majority:.3f})"
        )

    def record(self) -> dict[str, Any]:
        """The figures by name, and the sentence as `text`."""
        return {**asdict(self), "text": self.describe()}


def stuck(last: Epoch, train: Blind, validation: Blind | None, classes: int, training: Training) -> Stuck | None:
    """The proof that the training whose `last` epoch this is has learnt nothing, or None.

    Args:
        last: Its train loss and validation accuracy decide; both have to be no better than a constant answer's. A task
            that has no accuracy has no constant answer either, and is never stuck.
        train: What a constant answer chooses from in the train split.
        validation: In the validation split; None = no sample validates, and the train loss alone decides.
        classes: C.
        training: Seed, label smoothing and balance.
    """
    constant = constant_loss(train.classes, classes, training) + train.nats
    if last.train_loss < NEAR * constant:
        return None
    if validation is None:
        return Stuck(training.seed, last.train_loss, constant, None, None)
    accuracy, majority = last.validation.get("accuracy"), validation.accuracy
    luck = ERRORS * float(np.sqrt(majority * (1 - majority) / len(validation.classes)))
    if accuracy is None or accuracy > majority + luck:
        return None
    return Stuck(training.seed, last.train_loss, constant, accuracy, majority)


def constant_loss(labels: Labels, classes: int, training: Training) -> float:
    """The lowest mean loss (nats) of an answer that is the same for every sample."""
    shares = np.bincount(labels, minlength=classes) / len(labels)
    if training.balance == "sampling":
        shares = (shares > 0) / np.count_nonzero(shares)
    target = shares * (1 - training.label_smoothing) + training.label_smoothing / classes
    if training.balance == "weights":
        target = target * class_weights(labels, classes)
    target = target[target > 0]
    return float(-(target * np.log(target / target.sum())).sum())


def another_seed(seed: int, attempt: int) -> int:
    """The seed of the `attempt`-th training in place of a stuck one; the 0th is `seed` itself."""
    return derive(seed, "another", attempt) % 2**31 if attempt else seed
