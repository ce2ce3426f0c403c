"""What a training tells its caller, and where it is."""

from dataclasses import dataclass, field
from typing import Any

from tlpipe.tasks.base import Scores
from tlpipe.train.cache.activation_cache import CacheFill


@dataclass(frozen=True)
class Step:
    """One optimizer step is done."""

    phase: str
    epoch: int
    done: int
    """Steps done in the phase."""
    total: int
    """Steps of the phase if it runs to its end."""


@dataclass(frozen=True)
class Epoch:
    """One pass over the training split is done and validated."""

    step: int
    """Optimizer steps since the start of the training."""
    phase: str
    epoch: int
    """Passes since the start of the training, from 1."""
    train_loss: float
    validation: Scores
    """The task's figures of the validation split, the loss first."""
    lr_min: float
    """Smallest peak rate that trains in the phase."""
    lr_max: float
    seconds: float
    """Of the pass, a first look at frozen layers included, its validation not."""
    samples_per_second: float

    def row(self) -> dict[str, Any]:
        """Plain values: the validation's figures as `validation_loss` and so on, in their place."""
        values: dict[str, Any] = {}
        for name, value in vars(self).items():
            values |= {f"{name}_{key}": each for key, each in value.items()} if name == "validation" else {name: value}
        return values


@dataclass(frozen=True)
class Notice:
    """Something that a person should know."""

    text: str


Event = Step | Epoch | CacheFill | Notice


@dataclass
class Position:
    """Where a training is; with the weights and the optimizer this is all that there is to know."""

    phase: int = 0
    epoch: int = 0
    """Passes done in the phase."""
    batch: int = 0
    """Steps done in the pass."""
    steps: int = 0
    epochs: int = 0
    loss_sum: float = 0.0
    seconds: float = 0.0
    """Spent in the pass, before it was interrupted."""
    stale: int = 0
    """Passes of the phase since its last improvement, without those that patience does not count."""
    peak: Scores = field(default_factory=dict)
    """The best of the phase's passes so far."""
    skipped: int = 0
    """Steps of the phase whose gradients did not fit into fp16."""
    pieces: int = 1
    """Parts in which a batch is computed, because it did not fit into memory whole."""
    best: Scores = field(default_factory=dict)
    best_epoch: int = 0
    """The pass after which `best` was found; 0 = before the first."""

    def next_phase(self) -> None:
        """Be at the beginning of the next phase."""
        self.phase, self.epoch, self.stale, self.peak = self.phase + 1, 0, 0, {}
