"""The head: converged multinomial logistic regression on cached features; seconds, and no rate to tune."""

import math
from collections.abc import Iterator, Sequence
from typing import Annotated, Literal, NamedTuple

import torch
from pydantic import Field, field_validator
from torch import Tensor
from torch.nn import functional

from tlpipe.config import Spec
from tlpipe.train.heads.logistic_regression import minimise

TILTS = (0.0, 1.0, math.inf)
"""How much more the upper of several feature sets may weigh: not at all, by their place, or the last one alone."""


class Solution(NamedTuple):
    """A linear head on raw features, converged under one penalty."""

    penalty: float
    weight: Tensor
    """(C, D) float64"""
    bias: Tensor
    """(C,) float64"""
    train_loss: float
    """Mean cross-entropy of what it was fitted on, nats, without the penalty."""


class Point(NamedTuple):
    """One penalty of the path; losses are cross-entropies in nats, without the penalty."""

    penalty: float
    train_loss: float
    validation_loss: float
    validation_accuracy: float


class Fitted(NamedTuple):
    """A linear head on raw features, and what was found on the way."""

    weight: Tensor
    """(C, D) float64"""
    bias: Tensor
    """(C,) float64"""
    penalty: float
    """The strength of the L2 penalty that validation chose."""
    path: tuple[Point, ...]
    """What was tried, from the strongest penalty to the weakest."""


class Head(Spec):
    """L2-regularised logistic regression; the penalty with the lowest validation cross-entropy wins."""

    penalties: Annotated[tuple[Annotated[float, Field(ge=1e-12, le=1e6)], ...], Field(min_length=1, max_length=100)]
    """Candidates for lambda in mean cross-entropy + lambda / 2 * ||W||^2, on standardised features."""
    balance: Literal["none", "weights"]
    """Weigh samples by inverse class frequency, or not."""
    iterations: Annotated[int, Field(ge=1, le=100_000)]
    """Limit of iterations for each penalty, each a look at all features; it stops by itself when it has converged."""

    @field_validator("penalties")
    @classmethod
    def _different(cls, penalties: tuple[float, ...]) -> tuple[float, ...]:
        if twice := sorted({each for each in penalties if penalties.count(each) > 1}):
            raise ValueError(f"{', '.join(f'{each:g}' for each in twice)} is there twice; each penalty is tried once")
        return penalties

    def fit(
        self,
        train: tuple[Tensor, Tensor],
        validation: tuple[Tensor, Tensor],
        classes: int,
        blocks: Sequence[int] | None = None,
        tilt: float = 0.0,
        stands_for: Tensor | None = None,
    ) -> Fitted:
        """Fit on features (N, D) and labels (N,); choose the penalty on `validation`. Deterministic; see `path`."""
        path = list(self.path(train, classes, blocks, tilt, stands_for))
        points = [_score(solution, validation) for solution in path]
        best = path[best_point(points)]
        return Fitted(best.weight, best.bias, best.penalty, tuple(points))

    def path(
        self,
        train: tuple[Tensor, Tensor],
        classes: int,
        blocks: Sequence[int] | None = None,
        tilt: float = 0.0,
        stands_for: Tensor | None = None,
        weakest: float = 0.0,
    ) -> Iterator[Solution]:
        """Heads fitted on features (N, D) and labels (N,) under each penalty, from the strongest to `weakest`.

        Features are standardised with the training split's statistics, which are folded into the result. `blocks` are
        the widths of feature sets that stand side by side: each gets the same total variance, so that one penalty
        weighs on all of them alike; with a `tilt` the later ones get more (`factors`). `stands_for` (C,), in place of
        `balance`, is how many samples each one of a class stands for. Each start is the last one's end. Deterministic.
        """
        features, labels = train[0].double(), train[1]
        mean, scale = _standard(features, blocks or [features.shape[1]], tilt)
        inputs = (features - mean) * scale
        basis = _basis(inputs)
        if basis is not None:
            inputs = inputs @ basis
        weights = _balanced(labels, classes) if self.balance == "weights" else stands_for
        weight = torch.zeros(classes, inputs.shape[1], dtype=torch.float64, device=features.device)
        bias = torch.zeros(classes, dtype=torch.float64, device=features.device)
        for penalty in sorted({each for each in self.penalties if each >= weakest}, reverse=True):
            weight, bias = minimise(inputs, labels, weights, penalty, (weight, bias), self.iterations)
            folded = (weight if basis is None else weight @ basis.T) * scale
            loss = float(functional.cross_entropy(inputs @ weight.T + bias, labels))
            yield Solution(penalty, folded, bias - folded @ mean, loss)


def best_point(points: Sequence[Point]) -> int:
    """Index of the point with the lowest validation loss; of equal ones the weakest penalty's."""
    return min(range(len(points)), key=lambda index: (points[index].validation_loss, -index))


def _standard(features: Tensor, blocks: Sequence[int], tilt: float) -> tuple[Tensor, Tensor]:
    """Mean (D,) and factor (D,) of each feature: see `factors`."""
    return features.mean(0), factors(features.std(0, correction=0), blocks, tilt)


def factors(deviation: Tensor, blocks: Sequence[int], tilt: float = 0.0) -> Tensor:
    """(D,) what brings features of these deviations to unit variance in a single block, to equal sums in several.

    With a `tilt` block l of L gets (l / L)^tilt of its deviation: a penalty then weighs less on the upper ones.
    """
    scales = []
    for index, (width, part) in enumerate(zip(blocks, deviation.split(list(blocks)), strict=True), start=1):
        # a feature that hardly varies is noise; blown up to unit variance it would make huge weights for fine-tuning
        scale = 1 / part.clamp_min(0.1 * float(part.mean())).clamp_min(1e-12)
        scales.append(scale * (len(deviation) / len(blocks) / width) ** 0.5 * (index / len(blocks)) ** tilt)
    return torch.cat(scales)


def _basis(inputs: Tensor) -> Tensor | None:
    """An orthonormal basis (D, N) of the span of fewer samples than features: the penalised optimum lies in it."""
    if inputs.shape[0] >= inputs.shape[1]:
        return None
    basis: Tensor = torch.linalg.qr(inputs.T)[0]
    return basis


def _score(solution: Solution, validation: tuple[Tensor, Tensor]) -> Point:
    held_out = validation[0].double() @ solution.weight.T + solution.bias
    return Point(
        solution.penalty,
        solution.train_loss,
        float(functional.cross_entropy(held_out, validation[1])),
        float((held_out.argmax(1) == validation[1]).double().mean()),
    )


def _balanced(labels: Tensor, classes: int) -> Tensor:
    counts = torch.bincount(labels, minlength=classes).double()
    return len(labels) / (classes * counts.clamp_min(1))
