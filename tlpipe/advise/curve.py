"""The learning curve of a frozen probe, and what more labels would bring: never further than four times as many."""

from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tlpipe.advise.probe import Blocks, Floats, Labels, deal, probe, rank_in_class

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
"""Samples a class of the smallest part."""


class Point(NamedTuple):
    """Accuracy with so many labelled samples, with its 90 % band."""

    samples: int
    accuracy: float
    low: float
    high: float
    measured: bool


def anchors(blocks: Blocks, labels: Labels, classes: int, seed: int) -> tuple[list[int], Floats]:
    """Training sizes, and how often each sample is classified rightly at each of them when held out, (sizes, N)."""
    fractions = [share for share in FRACTIONS if share == 1 or share * len(labels) >= LEAST * classes]
    right, counts = np.zeros((len(fractions), len(labels))), np.zeros(len(fractions))
    for repeat in range(REPEATS):
        fold, rank = deal(labels, REPEATS * seed + repeat), rank_in_class(labels, REPEATS * seed + repeat)
        folds = np.unique(fold).tolist()
        for (index, share), each in product(enumerate(fractions), folds):
            held, used = fold == each, (fold != each) & (rank < share)
            scores = probe([block[used] for block in blocks], labels[used], [block[held] for block in blocks], classes)
            right[index, held] += (scores.argmax(1) == labels[held]) / REPEATS
            counts[index] += used.sum() / len(folds) / REPEATS
    return np.rint(counts).astype(int).tolist(), right


def learning_curve(blocks: Blocks, labels: Labels, classes: int, seed: int) -> list[Point]:
    """What was measured at nested sizes, then the extrapolation to two and four times all labelled samples.

    The form is a - b n^-c (Cortes et al. 1994; `pow3` of LCDB) with a <= 1 and b >= 0. Its band holds two doubts: the
    samples are drawn again with replacement, and the exponent, which few anchors do not determine, is drawn by how
    well it fits each time. DOUBT is added, and nothing falls below what was measured. Fewer than three anchors cannot
    be extrapolated.
    """
    sizes, right = anchors(blocks, labels, classes, seed)
    generator = np.random.default_rng([seed, 17])
    rows = generator.integers(0, right.shape[1], (DRAWS, right.shape[1]))
    drawn = right[:, rows].mean(2).T
    points = [
        Point(size, float(right[index].mean()), *_band(drawn[:, index]), True) for index, size in enumerate(sizes)
    ]
    if len(sizes) < 3:
        return points
    noise = drawn.std(0).mean() + 1e-3
    more = [times * right.shape[1] for times in AHEAD]
    futures = np.stack([_extrapolated(np.array(sizes), each, more, noise, generator) for each in drawn])
    missed = np.exp(DOUBT * generator.normal(size=(DRAWS, 1)) * np.log2(AHEAD))
    futures = np.maximum(1 - (1 - futures) * missed, drawn[:, -1:])
    return points + [
        Point(size, float(np.median(futures[:, index])), *_band(futures[:, index]), False)
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
