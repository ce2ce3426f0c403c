"""The minimum of penalised multinomial logistic regression, by a truncated Newton method.

Each Newton step is solved by conjugate gradients only as far as the gradient deserves, and found again on a line; the
Hessian is never formed, a product with it costs two passes over the features (Lin, Weng and Keerthi 2008, "Trust
region Newton method for logistic regression", with a line search in place of the trust region). Of a few hundred
samples L-BFGS needs some hundred steps, each of which a hundred small vectors slow down; this takes about forty.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

TOLERANCE = 1e-7
"""Largest entry of the gradient at which it has converged, nats per unit of a weight."""
SUFFICIENT, SMALLEST = 1e-4, 1e-10
"""Of the line search: the share of the promised decrease that is enough, and the shortest step that is tried."""
FORCING = 0.1
"""Largest relative residual of a Newton step; nearer to the minimum the square root of the gradient's length."""


@dataclass(frozen=True)
class Objective:
    """Weighted mean cross-entropy + penalty / 2 * ||W||^2 over W (C, D) and an unpenalised bias (C,).

    W and bias stand side by side in one (C, D + 1) tensor.
    """

    inputs: Tensor
    """(N, D) float64"""
    labels: Tensor
    """(N,)"""
    shares: Tensor
    """(N, 1): the weight of each sample, summing to 1."""
    targets: Tensor
    """(N, C): one-hot."""
    penalty: float

    def logits(self, at: Tensor) -> Tensor:
        """(N, C) at the parameters `at`."""
        return torch.addmm(at[:, -1], self.inputs, at[:, :-1].T)

    def value(self, logits: Tensor, at: Tensor) -> float:
        """In nats."""
        losses = functional.cross_entropy(logits, self.labels, reduction="none")
        return float(self.shares[:, 0] @ losses + self.penalty / 2 * at[:, :-1].square().sum())

    def gradient(self, probabilities: Tensor, at: Tensor) -> Tensor:
        """(C, D + 1), of the objective at `at`, where the logits give `probabilities`."""
        return self._back(self.shares * (probabilities - self.targets), at)

    def curvature(self, probabilities: Tensor, along: Tensor) -> Tensor:
        """The Hessian times `along`."""
        moved = self.logits(along)
        centred = moved - (probabilities * moved).sum(1, keepdim=True)
        return self._back(self.shares * probabilities * centred, along)

    def _back(self, errors: Tensor, at: Tensor) -> Tensor:
        weight = torch.addmm(at[:, :-1], errors.T, self.inputs, beta=self.penalty)
        return torch.cat([weight, errors.sum(0)[:, None]], 1)


def minimise(
    inputs: Tensor,
    labels: Tensor,
    class_weights: Tensor | None,
    penalty: float,
    start: tuple[Tensor, Tensor],
    iterations: int,
) -> tuple[Tensor, Tensor]:
    """Weight (C, D) and bias (C,) at the minimum for features (N, D) float64, from `start`.

    At most `iterations` steps of conjugate gradients in all. Deterministic.
    """
    each = torch.ones(len(labels), dtype=inputs.dtype, device=inputs.device)
    if class_weights is not None:
        each = class_weights[labels]
    targets = functional.one_hot(labels, len(start[1])).to(inputs.dtype)
    objective = Objective(inputs, labels, (each / each.sum())[:, None], targets, penalty)
    at = torch.cat([start[0], start[1][:, None]], 1)
    logits = objective.logits(at)
    value, left = objective.value(logits, at), iterations
    rounded = Objective(inputs.float(), labels, objective.shares.float(), targets.float(), penalty)
    while left > 0:
        probabilities = logits.softmax(1)
        gradient = objective.gradient(probabilities, at)
        if float(gradient.abs().max()) <= TOLERANCE:
            break
        rough, left = _newton(rounded, probabilities.float(), gradient.float(), left)
        step = rough.double()
        moved = objective.logits(step)
        length, value = _search(objective, (at, logits, value), (step, moved), float((gradient * step).sum()))
        if not length:
            break
        at, logits = at + length * step, logits + length * moved
    return at[:, :-1].contiguous(), at[:, -1].contiguous()


def _newton(objective: Objective, probabilities: Tensor, gradient: Tensor, left: int) -> tuple[Tensor, int]:
    """A truncated Newton step (C, D + 1) of the rounded objective, and the steps that are left."""
    step, residual = torch.zeros_like(gradient), -gradient
    along, before = residual, float(residual.square().sum())
    goal = min(FORCING**2, before**0.5) * before
    while left > 0 and before > goal:
        left -= 1
        bent = objective.curvature(probabilities, along)
        curved = float((along * bent).sum())
        if curved <= 0:  # nothing but rounding is left in this direction
            break
        length = before / curved
        step, residual = step + length * along, residual - length * bent
        after = float(residual.square().sum())
        along, before = residual + after / before * along, after
    return step, left


def _search(
    objective: Objective, start: tuple[Tensor, Tensor, float], direction: tuple[Tensor, Tensor], slope: float
) -> tuple[float, float]:
    """The first of 1, 1/2, 1/4, ... that brings enough, and the objective there; 0 if none does."""
    (at, logits, value), (step, moved) = start, direction
    length = 1.0
    while length >= SMALLEST:
        reached = objective.value(logits + length * moved, at + length * step)
        if reached <= value + SUFFICIENT * length * slope:
            return length, reached
        length /= 2
    return 0.0, value
