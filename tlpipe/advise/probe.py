"""Closed-form probes of frozen features, with honest cross-validation: seconds, and the same figures every time.

A probe is ridge regression on class indicators over standardised features. Its penalty is chosen inside each training
part by leave-one-out, which one eigendecomposition gives for all penalties at once: what a fold is judged on was never
looked at.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Blocks = Sequence[NDArray[np.float32]]
"""Feature arrays (N, D_l) over the same samples, one a depth; each weighs the same, however wide it is."""
Labels = NDArray[np.int64]
STRENGTHS = 10.0 ** np.arange(-5, 3)
"""Candidate penalties, in units of the mean eigenvalue of the features' Gram matrix."""
FOLDS = 5


class Measured(NamedTuple):
    """An accuracy that was measured, not predicted."""

    accuracy: float
    sigma: float
    """Standard error over the samples; Agresti and Coull's two added successes and failures keep it from being 0."""
    samples: int
    """How many were held out, each once."""


def probe(train: Blocks, labels: Labels, test: Blocks, classes: int) -> Floats:
    """Scores (M, C) of the `test` samples by a ridge probe fitted on `train`, whose penalty leave-one-out chose.

    Features that do not vary at all leave the class frequencies.
    """
    x, z = _standardised(train, test)
    targets = np.eye(classes)[labels]
    mean = targets.mean(0)
    left, values = _decomposed(x)
    if not len(values):
        return np.tile(mean, (len(z), 1))
    projected = left.T @ (targets - mean)
    best, chosen = np.inf, STRENGTHS[0]
    for strength in STRENGTHS:
        kept = values / (values + strength * values.mean())
        residual = targets - mean - left @ (kept[:, None] * projected)
        leverage = (left**2) @ kept + 1 / len(x)
        error = float(((residual / (1 - np.minimum(leverage, 1 - 1e-9))[:, None]) ** 2).mean())
        if error < best:
            best, chosen = error, strength
    dual = left @ (projected / (values + chosen * values.mean())[:, None])
    scores: Floats = z @ (x.T @ dual) + mean
    return scores


def _standardised(train: Blocks, test: Blocks) -> tuple[Floats, Floats]:
    """All blocks side by side, with mean 0 and deviation 1 on the training part, divided by the root of their width."""
    parts = []
    for own, other in zip(train, test, strict=True):
        mean, deviation = own.mean(0, dtype=np.float64), own.std(0, dtype=np.float64)
        # as in `tlpipe.train.head`: a feature that hardly varies is noise
        scale = 1 / np.maximum(np.maximum(deviation, 0.1 * deviation.mean()), 1e-12) / own.shape[1] ** 0.5
        parts.append(((own - mean) * scale, (other - mean) * scale))
    left, right = zip(*parts, strict=True)
    return np.concatenate(left, 1), np.concatenate(right, 1)


def _decomposed(x: Floats) -> tuple[Floats, Floats]:
    """Left singular vectors (N, R) and squared singular values (R,) of `x` (N, D), by the smaller Gram matrix."""
    if x.shape[1] < x.shape[0]:
        values, right = np.linalg.eigh(x.T @ x)
        keep = values > 1e-10 * max(values[-1], 1e-10)
        return x @ right[:, keep] / np.sqrt(values[keep]), values[keep]
    values, left = np.linalg.eigh(x @ x.T)
    keep = values > 1e-10 * max(values[-1], 1e-10)
    return left[:, keep], values[keep]


def deal(labels: Labels, seed: int, folds: int = FOLDS) -> NDArray[np.int64]:
    """The fold (N,) of every sample: stratified by class, seeded, fold sizes differ by at most the classes."""
    order = np.random.default_rng([seed, 11]).permutation(len(labels))
    fold = np.empty(len(labels), np.int64)
    offset = 0
    for label in np.unique(labels):
        rows = order[labels[order] == label]
        fold[rows] = (offset + np.arange(len(rows))) % folds
        offset += len(rows)
    return fold


def rank_in_class(labels: Labels, seed: int) -> Floats:
    """A number in [0, 1) for every sample: those below s are a nested, stratified share s of each class."""
    order = np.random.default_rng([seed, 13]).permutation(len(labels))
    rank = np.empty(len(labels))
    for label in np.unique(labels):
        rows = order[labels[order] == label]
        rank[rows] = (np.arange(len(rows)) + 0.5) / len(rows)
    return rank


def cross_validate(blocks: Blocks, labels: Labels, classes: int, seed: int) -> Measured:
    """Accuracy of probes on samples that they were not fitted on: every sample is held out once."""
    fold, right = deal(labels, seed), np.zeros(len(labels), bool)
    for each in np.unique(fold):
        held = fold == each
        scores = probe([block[~held] for block in blocks], labels[~held], [block[held] for block in blocks], classes)
        right[held] = scores.argmax(1) == labels[held]
    return measured(right)


def measured(right: NDArray[np.bool_]) -> Measured:
    """The accuracy of `right` with its standard error."""
    share = (right.sum() + 2) / (len(right) + 4)
    return Measured(float(right.mean()), float(np.sqrt(share * (1 - share) / (len(right) + 4))), len(right))
