"""The learning curve of a frozen probe, and what more labels would bring: never further than four times as many."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tlpipe.advise.marks import Marks
from tlpipe.advise.probe import Blocks, Floats, deal, held_out, measured, rank_in_class

FRACTIONS = (1 / 8, 1 / 4, 1 / 2, 1)
"""Nested parts of each training part on which probes are fitted."""
REPEATS = 3
"""Cross-validations that are averaged: which few samples a small part has matters more than the curve's slope."""
AHEAD = (2, 4)
"""Multiples of the labelled samples at which the curve is extrapolated; real curves cannot be trusted further."""
EXPONENTS = np.linspace(0.1, 1.5, 15)
DRAWS = 400
DOUBT = 0.2
"""Standard deviation, a doubling, of the logarithm of the true error over the extrapolated one: what the form itself
misses. From the fitting half of benchmarks/advisor; curves that still lie near chance miss by more."""
LEAST = 2
"""Units a stratum of the smallest part."""


class Point(NamedTuple):
    """The probe's score with so many labelled samples, with its 90 % band."""

    samples: int
    accuracy: float
    low: float
    high: float
    measured: bool


def anchors(blocks: Blocks, marks: Marks, seed: int) -> tuple[list[int], Floats]:
    """Training sizes in units, and what each held-out unit wins and has at stake at each of them, (sizes, U, 2)."""
    units, least = len(marks.strata), LEAST * len(np.unique(marks.strata))
    fractions = [share for share in FRACTIONS if share == 1 or share * units >= least]
    counts, sizes = np.zeros((len(fractions), units, 2)), np.zeros(len(fractions))
    for repeat in range(REPEATS):
        own = REPEATS * seed + repeat
        fold, rank = deal(marks.strata, own), rank_in_class(marks.strata, own)
        for index, share in enumerate(fractions):
            among = rank < share
            counts[index] += marks.counts(held_out(blocks, marks, fold, among, own)) / REPEATS
            sizes[index] += np.mean([(among & (fold != each)).sum() for each in np.unique(fold)]) / REPEATS
    return np.rint(sizes).astype(int).tolist(), counts


def learning_curve(blocks: Blocks, marks: Marks, seed: int, each: float = 1.0) -> list[Point]:
    """What was measured at nested sizes, then the extrapolation to two and four times all labelled samples.

    The form is a - b n^-c (Cortes et al. 1994; `pow3` of LCDB) with a <= 1 and b >= 0. Its band holds two doubts: the
    units are drawn again with replacement, and the exponent, which few anchors do not determine, is drawn by how
    well it fits each time. DOUBT is added, and nothing falls below what was measured. Fewer than three anchors cannot
    be extrapolated. `each` is how many samples a unit has, on average.
    """
    sizes, counts = anchors(blocks, marks, seed)
    generator = np.random.default_rng([seed, 17])
    units = counts.shape[1]
    rows = generator.integers(0, units, (DRAWS, units))
    won, stake = np.moveaxis(counts[:, rows].sum(2), 2, 0)
    drawn = (won / np.maximum(stake, 1e-12)).T
    points = [
        Point(round(each * size), measured(counts[index]).accuracy, *_band(drawn[:, index]), True)
        for index, size in enumerate(sizes)
    ]
    if len(sizes) < 3:
        return points
    noise = drawn.std(0).mean() + 1e-3
    more = [times * units for times in AHEAD]
    futures = np.stack([_extrapolated(np.array(sizes), one, more, noise, generator) for one in drawn])
    missed = np.exp(DOUBT * generator.normal(size=(DRAWS, 1)) * np.log2(AHEAD))
    futures = np.maximum(1 - (1 - futures) * missed, drawn[:, -1:])
    return points + [
        Point(round(each * size), float(np.median(futures[:, index])), *_band(futures[:, index]), False)
        for index, size in enumerate(more)
    ]


def _band(values: Floats) -> tuple[float, float]:
    low, high = np.percentile(values, [5, 95])
    return float(low), float(high)


def _extrapolated(
    sizes: NDArray[np.int64], accuracies: Floats, more: list[int], noise: float, generator: np.random.Generator
) -> Floats:
    """Accuracies (len(more),) by one exponent, drawn with probability proportional to the likelihood of its fit."""
    fits = [_fit(sizes, accuracies, exponent) for exponent in EXPONENTS]
    errors = np.array([error for _, _, error in fits])
    weights = np.exp(-(errors - errors.min()) / (2 * noise**2))
    chosen = int(generator.choice(len(fits), p=weights / weights.sum()))
    top, slope, _ = fits[chosen]
    future: Floats = np.clip(top - slope * np.array(more, float) ** -EXPONENTS[chosen], 0, 1)
    return future


def _fit(sizes: NDArray[np.int64], accuracies: Floats, exponent: float) -> tuple[float, float, float]:
    """(a, b, weighted squared error) of least squares under a <= 1 and b >= 0.

    Anchors weigh by their size: the form is asymptotic, and near chance real curves begin slower than it.
    """
    powers, weights = sizes.astype(float) ** -exponent, sizes / sizes.mean()
    mean, middle = np.average(powers, weights=weights), np.average(accuracies, weights=weights)
    centred = weights * (powers - mean)
    slope = max(0.0, -float(centred @ (accuracies - middle) / (centred @ (powers - mean))))
    top = float(middle + slope * mean)
    if top > 1:
        top, slope = 1.0, max(0.0, float((weights * powers) @ (1 - accuracies) / ((weights * powers) @ powers)))
    return top, slope, float(weights @ (top - slope * powers - accuracies) ** 2)
