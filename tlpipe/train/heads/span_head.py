"""The head of question answering, converged on kept states of tokens: two directions that score starts and ends.

Each row (a window) is two choices among its tokens, of a start and of an end, so the cross-entropy is over positions: a
constant added to all tokens of a row changes nothing, and there is no bias to fit.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from tlpipe.train.heads.head import Head, Solution, factors
from tlpipe.train.heads.logistic_regression import TOLERANCE

CHUNK = 32_768
"""Tokens that are in memory in double precision at once, the last row's end apart."""


@dataclass(frozen=True)
class States:
    """N rows of tokens with what is right in each."""

    values: NDArray[np.float32]
    """(T, D) states of all tokens, row after row; may be mapped."""
    offsets: NDArray[np.int64]
    """(N + 1,)"""
    targets: NDArray[np.int64]
    """(N, 2) position of the start and of the end within the row."""

    def parts(self) -> Iterator[tuple[Tensor, NDArray[np.int64], Tensor]]:
        """(states (t, D) float64, offsets (n + 1,) that begin with 0, targets (n, 2)) of whole rows at a time."""
        low = 0
        while low < len(self.targets):
            high = int(np.searchsorted(self.offsets, self.offsets[low] + CHUNK, side="right")) - 1
            high = min(max(high, low + 1), len(self.targets))
            first, last = self.offsets[low], self.offsets[high]
            values: Any = np.asarray(self.values[first:last], np.float64)
            yield (
                torch.from_numpy(values),
                self.offsets[low : high + 1] - first,
                torch.from_numpy(self.targets[low:high]),
            )
            low = high


def span_path(
    head: Head, train: States, blocks: Sequence[int] | None = None, tilt: float = 0.0, weakest: float = 0.0
) -> Iterator[Solution]:
    """Heads fitted on `train` under each penalty, from the strongest to `weakest`. Deterministic.

    Features are standardised over all tokens (`blocks` and `tilt` as in `Head.path`), which is folded into the result:
    a weight (2, D) for raw states and a bias of zeros. Memory is bounded whatever the number of tokens.
    """
    scale = factors(_deviation(train), blocks or [train.values.shape[1]], tilt)
    weight = torch.zeros(2, len(scale), dtype=torch.float64)
    for penalty in sorted({each for each in head.penalties if each >= weakest}, reverse=True):
        weight = _minimise(weight, scale, train, penalty, head.iterations)
        loss, _ = span_loss(weight * scale, train)
        yield Solution(penalty, weight * scale, torch.zeros(2, dtype=torch.float64), loss)


def _deviation(train: States) -> Tensor:
    """(D,) standard deviation of each feature over all tokens."""
    count, total, square = 0, torch.zeros(()), torch.zeros(())
    for values, _, _ in train.parts():
        count, total, square = count + len(values), total + values.sum(0), square + values.square().sum(0)
    return (square / count - (total / count).square()).clamp_min(0).sqrt()


def _minimise(start: Tensor, scale: Tensor, train: States, penalty: float, iterations: int) -> Tensor:
    weight, choices = start.clone().requires_grad_(), 2 * len(train.targets)
    optimizer = torch.optim.LBFGS(
        [weight], max_iter=iterations, tolerance_grad=TOLERANCE, tolerance_change=1e-12, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        total = penalty / 2 * weight.square().sum()
        total.backward()
        for part in train.parts():
            loss = functional.cross_entropy(*_choices(weight * scale, *part), reduction="sum") / choices
            loss.backward()
            total = total + loss
        return total.detach()

    optimizer.step(closure)
    return weight.detach()


def _choices(weight: Tensor, values: Tensor, offsets: NDArray[np.int64], targets: Tensor) -> tuple[Tensor, Tensor]:
    """Scores (2 n, L), -inf where a row has no token, and the right positions (2 n,)."""
    lengths = np.diff(offsets)
    rows = torch.from_numpy(np.repeat(np.arange(len(lengths)), lengths))
    places = torch.from_numpy(np.arange(len(values)) - np.repeat(offsets[:-1], lengths))
    empty = values.new_full((len(lengths), int(lengths.max()), 2), -torch.inf)
    padded = empty.index_put((rows, places), values @ weight.T)
    return padded.transpose(1, 2).flatten(0, 1), targets.flatten()


@torch.no_grad()
def span_loss(weight: Tensor, states: States) -> tuple[float, float]:
    """Mean cross-entropy (nats) of the choices, and the share of them that are right."""
    total, right = 0.0, 0
    for part in states.parts():
        scores, targets = _choices(weight, *part)
        total += float(functional.cross_entropy(scores, targets, reduction="sum"))
        right += int((scores.argmax(1) == targets).sum())
    return total / (2 * len(states.targets)), right / (2 * len(states.targets))
