"""Temperature scaling (Guo et al. 2017, arXiv 1706.04599): one number, fitted on validation, changes no decision."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

BOUNDS = (0.05, 20.0)
SPREAD = 0.3
"""Standard deviation of the prior on log T around 0: fifty samples that are all right would otherwise ask for T = 0."""


Likelihood = Callable[[Tensor, Tensor], Tensor]
"""As `Task.likelihood`: of the logits and labels of all samples."""


def _cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    return functional.cross_entropy(logits, labels, reduction="sum")


def fit_temperature(logits: Tensor, labels: Tensor, likelihood: Likelihood = _cross_entropy, rounds: int = 80) -> float:
    """T of highest posterior probability for softmax(logits / T): logits (N, C), labels (N,).

    The prior is log-normal around 1 and counts as much as about ten samples; it vanishes as N grows. Found by
    a ternary search over log T in so many rounds, of which each leaves two thirds, and rounded to 6 digits.
    """
    logits = logits.double()
    low, high = (torch.tensor(bound, dtype=torch.float64).log() for bound in BOUNDS)

    def loss(log_temperature: Tensor) -> Tensor:
        return likelihood(logits / log_temperature.exp(), labels) + (log_temperature / SPREAD) ** 2 / 2

    for _ in range(rounds):
        third = (high - low) / 3
        left, right = low + third, high - third
        if loss(left) <= loss(right):
            high = right
        else:
            low = left
    return round(float(((low + high) / 2).exp()), 6)
