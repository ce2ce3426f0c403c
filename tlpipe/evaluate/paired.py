"""Exact bounds of what one model loses against another on the same samples, for gates that must not guess."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tlpipe.evaluate.judged import Judged, difference
from tlpipe.intervals import NORMAL, Design, Interval, effective_size, lost_at_most, pairs_needed, resamplings

RESAMPLES = 1000
"""Resamples behind the effective number of samples in groups, and behind figures that are no mean over samples."""


@dataclass(frozen=True)
class Loss:
    """How much of a figure the second model loses, with one-sided 95 % bounds, and what they rest on."""

    interval: Interval
    samples: int
    worse: int
    """Samples that the second model makes worse."""
    better: int
    """Samples that it turns from wholly wrong to wholly right."""
    needed: int | None
    """Samples like these that would show a loss of at most what is allowed; None where no number would."""


def loss_of(first: Judged, second: Judged, metric: str, allowed: float, seed: int) -> Loss:
    """The loss of the task's first figure, `metric`.

    A sample's score falls by at most one, so the share of samples that become worse bounds the loss of the mean score;
    what is gained counts only where it is a whole one, and the other way round for the lower bound. Where the figure is
    no mean of scores (entity F1), the upper bound is the larger one of this and of the paired interval.
    """
    before, after = first.scores, second.scores
    found = _loss(before > after, after - before == 1, first.design, allowed, seed)
    value = first.measure()[metric] - second.measure()[metric]
    whole = _loss(before - after == 1, after > before, first.design, allowed, seed)
    around = Interval(value, whole.interval.low, found.interval.high)
    if not np.isclose(before.mean(), first.measure()[metric]):
        paired = difference([first], [second], metric, RESAMPLES, seed)
        around = Interval(value, min(around.low, paired.low), max(around.high, paired.high))
    return Loss(around, found.samples, found.worse, found.better, found.needed)


def disagreement(first: Judged, second: Judged, allowed: float, seed: int) -> Loss:
    """The share of samples of which the two do not say the same, whatever is right."""
    differs = ~first.agrees(second)
    return _loss(differs, np.zeros_like(differs), first.design, allowed, seed)


def _loss(worse: NDArray[np.bool_], better: NDArray[np.bool_], design: Design, allowed: float, seed: int) -> Loss:
    size, lost, won = len(worse), int(worse.sum()), int(better.sum())
    scale = 1.0 if design.independent else min(1.0, _independent(~worse, design, seed) / size)
    pairs = (lost * scale, won * scale, size * scale)
    needed = pairs_needed(*pairs, allowed)
    return Loss(
        Interval((lost - won) / size, *lost_at_most(*pairs)),
        size,
        lost,
        won,
        None if needed is None else int(np.ceil(needed / scale)),
    )


def _independent(kept: NDArray[np.bool_], design: Design, seed: int) -> float:
    """Number of independent samples that these are worth; few groups count for less."""
    plain = Design(design.cluster, np.ones(1))
    column = np.concatenate([kept, [False, True]]).astype(np.float64)
    draws = np.concatenate([column @ each / each.sum(0) for each in resamplings(plain, RESAMPLES, seed)])
    return effective_size(draws, plain) * (NORMAL / design.critical) ** 2
