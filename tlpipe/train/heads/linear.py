"""Cross-fitted linear heads on cached features: what the head stage and the all-depth strategies share."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from tlpipe.data.packed import Packed, Split
from tlpipe.preprocess.questions import END, START
from tlpipe.tasks import facet
from tlpipe.train.cache.embed import Features
from tlpipe.train.heads.head import TILTS, Fitted, Head, Point, Solution, best_point
from tlpipe.train.heads.span_head import States, span_loss, span_path
from tlpipe.train.trainer.events import Epoch


class Held(NamedTuple):
    """What a head gives for marks that it was not fitted on."""

    logits: Tensor
    """(m, C) float64"""
    loss: float
    """Sum of the cross-entropies, nats."""
    right: float
    """Number of right answers."""
    answers: int


class CrossFitted(NamedTuple):
    """A head whose penalty and tilt were chosen on predictions of samples that no head had been fitted on."""

    fitted: Fitted
    """What ships; the figures of its path are those of all held-out marks together."""
    parts: tuple[Solution, ...]
    """The heads of `Packed.parts` under the chosen penalty."""
    logits: Tensor
    """(M, C) float64 of the marks of `Packed.pooled`'s validation split, each by the head that has not seen it."""
    tilt: float


class Problem(Protocol):
    """A linear head to fit on the train split of a view, and to judge on its validation split."""

    def __init__(self, spec: Head, packed: Packed, features: Features, groups: Sequence[str]) -> None:
        """On the features of `groups` side by side."""

    def path(self, blocks: Sequence[int] | None, tilt: float, weakest: float = 0.0) -> Iterator[Solution]:
        """From the strongest penalty to `weakest`; `blocks` and `tilt` as in `Head.path`."""

    def held(self, solution: Solution) -> Held:
        """Of the view's validation split."""


def features_of(packed: Packed, features: Features, split: Split, groups: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Features (M, D) of some depths side by side, and labels (M,), of one split's marks."""
    marks = packed.marks(split)
    values = np.concatenate([features.at(group)[marks] for group in groups], axis=1)
    return torch.from_numpy(values), torch.from_numpy(packed.targets.marks[marks])


@dataclass(frozen=True)
class Logistic:
    """Logistic regression of the label of each mark, a sample or a word."""

    spec: Head
    packed: Packed
    features: Features
    groups: Sequence[str]

    def path(self, blocks: Sequence[int] | None, tilt: float, weakest: float = 0.0) -> Iterator[Solution]:
        """See `Problem`."""
        train = features_of(self.packed, self.features, "train", self.groups)
        return self.spec.path(train, len(self.packed.classes), blocks, tilt, weakest=weakest)

    def held(self, solution: Solution) -> Held:
        """See `Problem`."""
        values, labels = features_of(self.packed, self.features, "validation", self.groups)
        logits = values.double() @ solution.weight.T + solution.bias
        loss = functional.cross_entropy(logits, labels, reduction="sum")
        return Held(logits, float(loss), float((logits.argmax(1) == labels).sum()), len(labels))


@dataclass(frozen=True)
class Spans:
    """The choices of each row's tokens, as the first and the last of an answer."""

    spec: Head
    packed: Packed
    features: Features
    groups: Sequence[str]

    def path(self, blocks: Sequence[int] | None, tilt: float, weakest: float = 0.0) -> Iterator[Solution]:
        """See `Problem`."""
        return span_path(self.spec, self._states("train"), blocks, tilt, weakest)

    def held(self, solution: Solution) -> Held:
        """See `Problem`; two answers a row."""
        states = self._states("validation")
        loss, right = span_loss(solution.weight, states)
        logits = torch.cat([values @ solution.weight.T for values, _, _ in states.parts()])
        choices = 2 * len(states.targets)
        return Held(logits, loss * choices, right * choices, choices)

    def _states(self, split: Split) -> States:
        marks, rows = self.packed.marks(split), self.packed.rows(split)
        offsets = self.packed.samples.offsets
        lengths = offsets[rows + 1] - offsets[rows]
        starts = np.concatenate([[0], np.cumsum(lengths)])
        labels = self.packed.targets.marks[marks]
        values = [self.features.at(group)[marks] for group in self.groups]
        places = np.arange(len(labels)) - np.repeat(starts[:-1], lengths)
        targets = np.stack([places[(labels & bit) > 0] for bit in (START, END)], axis=1)
        return States(values[0] if len(values) == 1 else np.concatenate(values, axis=1), starts, targets)


def cross_fit(
    spec: Head, packed: Packed, features: Features, groups: Sequence[str], blocks: Sequence[int] | None = None
) -> CrossFitted:
    """The head with the lowest cross-entropy of held-out marks over all penalties, and over TILTS of several `blocks`.

    Each part of the data is predicted by heads that were fitted on the others; the choice is made on all of them
    together, and what ships is then fitted on all labelled marks (`Packed.refit`). Equal ones: the flattest tilt, then
    the weakest penalty.
    """
    problem: type[Problem] = facet(packed.task, "solver:Problem")
    parts = [problem(spec, part, features, groups) for part in packed.parts]
    tried = [_tilted(parts, blocks, tilt) for tilt in (TILTS if blocks else (0.0,))]
    points, solutions, tilt = min(tried, key=lambda each: min(point.validation_loss for point in each[0]))
    chosen = best_point(points)
    own = tuple(path[chosen] for path in solutions)
    logits = torch.cat([part.held(solution).logits for part, solution in zip(parts, own, strict=True)])
    shipped = own[0]
    if packed.refit:
        *_, shipped = problem(spec, packed.whole, features, groups).path(blocks, tilt, own[0].penalty)
    return CrossFitted(Fitted(shipped.weight, shipped.bias, shipped.penalty, tuple(points)), own, logits, tilt)


def _tilted(
    parts: Sequence[Problem], blocks: Sequence[int] | None, tilt: float
) -> tuple[list[Point], list[list[Solution]], float]:
    """The figures of each penalty over all parts, and each part's path."""
    paths = [list(part.path(blocks, tilt)) for part in parts]
    points = []
    for alike in zip(*paths, strict=True):
        held = [part.held(solution) for part, solution in zip(parts, alike, strict=True)]
        count = max(1, sum(each.answers for each in held))
        train_loss = math.fsum(solution.train_loss for solution in alike) / len(alike)
        loss, right = (math.fsum(getattr(each, name) for each in held) / count for name in ("loss", "right"))
        points.append(Point(alike[0].penalty, train_loss, loss, right))
    return points, paths, tilt


@torch.no_grad()
def install(head: nn.Module, fitted: Fitted | Solution) -> None:
    """Copy a fitted head into the linear layer of `head`."""
    linear = next(module for module in head.modules() if isinstance(module, nn.Linear))
    linear.weight.copy_(fitted.weight)
    linear.bias.copy_(fitted.bias)


def path_as_epochs(path: Sequence[Point], samples: int, seconds: float) -> list[Epoch]:
    """The path of penalties as if they were epochs, so that it can be drawn beside the others."""
    each = seconds / len(path)
    return [
        Epoch(
            step=index, phase=f"penalty {point.penalty:g}", epoch=index, train_loss=point.train_loss,
            validation={"loss": point.validation_loss, "accuracy": point.validation_accuracy},
            lr_min=0.0, lr_max=0.0, seconds=each, samples_per_second=samples / each,
        )
        for index, point in enumerate(path, start=1)
    ]  # fmt: skip
