"""Cross-fitting of a training: choices on out-of-fold predictions, then one model trained on all labelled samples.

Every labelled sample is predicted by a training that has not seen it, and what is chosen (the epoch, the share of the
trained weights in a WiSE-FT interpolation, the temperature) is chosen on these predictions. Source of the idea: Stone
1974, "Cross-validatory choice and assessment of statistical predictions".
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from tlpipe.data.packed import Packed
from tlpipe.strategies.plan import Plan
from tlpipe.tasks.base import Scores, Task
from tlpipe.train.spec import Training
from tlpipe.train.trainer.events import Epoch
from tlpipe.train.trainer.validation import Validation, monitored
from tlpipe.train.trainer.weight_averaging import ALPHAS, rank


@dataclass(frozen=True)
class Role:
    """Which training of a strategy this is, and so which weights it ends with."""

    keeps: Literal["best", "last"] = "best"
    """The weights after the epoch that validation likes best, or after the last one."""
    records: bool = False
    """Whether the logits of what it holds out are recorded before the first epoch and after each one."""
    stop: int | None = None
    """Number of epochs after which it ends; None = the plan's."""
    alpha: float | None = None
    """Share of the trained weights of a WiSE-FT interpolation, where it was chosen before."""


SINGLE, PART = Role(), Role("last", records=True)
"""A training that chooses on its own validation split, and one whose held-out predictions are pooled with others'."""


@dataclass
class HeldOut:
    """Recorded logits (m, C) float32 of what one training holds out."""

    epochs: list[Tensor] = field(default_factory=list)
    """Before the first epoch, and after each one."""
    blended: list[Tensor] = field(default_factory=list)
    """At each of ALPHAS, for plans that end with WiSE-FT."""
    ended: Tensor | None = None
    """After the plan's post-steps, for plans that end with a soup alone."""

    def state(self) -> dict[str, Any]:
        """Plain values and tensors."""
        return {"epochs": list(self.epochs), "blended": list(self.blended), "ended": self.ended}

    @classmethod
    def restore(cls, state: dict[str, Any]) -> "HeldOut":
        """From `state()`."""
        return cls(**state)


class Chosen(NamedTuple):
    """What the out-of-fold predictions decided."""

    epoch: int
    """Number of epochs after which training ends; 0 = the start is better than anything that followed."""
    alpha: float | None
    tried: tuple[dict[str, float], ...]
    """Figures of each of ALPHAS."""
    logits: Tensor
    """(M, C) float64 of all held-out marks, in row order."""
    labels: Tensor
    """(M,)"""
    history: list[Epoch]
    """The parts' epochs as one: summed seconds, mean train loss, figures of all held-out marks together."""

    @property
    def role(self) -> Role:
        """Of the training on all labelled samples."""
        return Role("last", stop=self.epoch, alpha=self.alpha)


def labels_of(packed: Packed) -> Tensor:
    """Labels (M,) of the marks that the parts of `packed` hold out."""
    return torch.from_numpy(packed.targets.marks[packed.pooled.marks("validation")])


def choose(
    task: Task,
    plan: Plan,
    training: Training,
    packed: Packed,
    parts: Sequence[tuple[HeldOut, Sequence[Epoch]]],
) -> Chosen:
    """The choices of a strategy on the held-out predictions of its trainings, in the order of `Packed.parts`.

    The epoch is the last one, or with `training.keep: best` that with the best figure; of equally good ones the later.
    Plans that end with a soup or WiSE-FT end after the last.
    """
    held, labels, view = [part for part, _ in parts], labels_of(packed), packed.pooled
    count = len(held[0].epochs)
    best = training.keep == "best" and not (plan.wise_ft or plan.soup)
    judge = Validation(task, training.monitor, view, ties=False) if best else partial(task.scores, packed=view)
    history = _history([epochs for _, epochs in parts], held, labels, judge)
    last = count - 1
    if plan.wise_ft:
        pooled = [_joined([part.blended[index] for part in held]) for index in range(len(ALPHAS))]
        tried = [{"alpha": alpha, **task.scores(pooled[at], labels, view)} for at, alpha in enumerate(ALPHAS)]
        share = max(range(len(tried)), key=lambda at: (-tried[at]["loss"], ALPHAS[at]))
        return Chosen(last, ALPHAS[share], tuple(tried), pooled[share], labels, history)
    if plan.soup:
        ended = [part.ended for part in held if part.ended is not None]
        return Chosen(last, None, (), _joined(ended), labels, history)
    epoch = last
    if best:
        start = judge(_joined([part.epochs[0] for part in held]), labels)
        scores, monitor = [start, *(each.validation for each in history)], monitored(task, training.monitor)
        epoch = max(range(count), key=lambda at: (rank(scores[at], monitor)[0], at))
    return Chosen(epoch, None, (), _joined([part.epochs[epoch] for part in held]), labels, history)


def _history(
    runs: Sequence[Sequence[Epoch]], held: Sequence[HeldOut], labels: Tensor, judge: Callable[[Tensor, Tensor], Scores]
) -> list[Epoch]:
    history = []
    for index, alike in enumerate(zip(*runs, strict=True), start=1):
        logits = _joined([part.epochs[index] for part in held])
        seconds = sum(epoch.seconds for epoch in alike)
        samples = sum(epoch.samples_per_second * epoch.seconds for epoch in alike)
        history.append(
            replace(
                alike[0],
                train_loss=sum(epoch.train_loss for epoch in alike) / len(alike),
                validation=judge(logits, labels),
                seconds=seconds,
                samples_per_second=samples / seconds if seconds else 0.0,
            )
        )
    return history


def _joined(logits: Sequence[Tensor]) -> Tensor:
    """One below the other (M, C) in double precision; those over fewer positions get more of them, at -inf."""
    width = max(part.shape[1] for part in logits)
    padded = [functional.pad(part, (0, width - part.shape[1]), value=-torch.inf) for part in logits]
    return torch.cat(padded).double()
