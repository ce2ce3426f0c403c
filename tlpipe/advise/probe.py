"""Closed-form probes of frozen features, with honest cross-validation: seconds, and the same figures every time.

A probe is ridge regression on class indicators over standardised features. Its penalty is chosen inside each training
part by leave-one-out, which one eigendecomposition gives for all penalties at once: what a fold is judged on was never
looked at. Where nearly all marks have one label the probe is the head itself instead, logistic regression.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from tlpipe.advise.marks import Marks
from tlpipe.intervals import NORMAL
from tlpipe.train.heads.head import Head

Floats = NDArray[np.float64]
Blocks = Sequence[NDArray[np.float32]]
"""Feature arrays (N, D_l) over the same samples, one a depth; each weighs the same, however wide it is."""
Labels = NDArray[np.int64]
STRENGTHS = 10.0 ** np.arange(-5, 3)
"""Candidate penalties, in units of the mean eigenvalue of the features' Gram matrix."""
FOLDS = 5
HEAD = Head(penalties=(0.03, 0.003, 0.0003), balance="none", iterations=100)
"""Of the logistic probes."""
FITTED = 1000
"""Marks that one probe is fitted on at most, so that words and tokens cost no more than samples do."""


class Measured(NamedTuple):
    """A score that was measured, not predicted: an accuracy, or another share (`tlpipe.advise.scores`)."""

    accuracy: float
    sigma: float
    """Standard error over the units; Agresti and Coull's two added successes and failures keep it from being 0."""
    samples: int
    """What it is a share of: samples that were held out, each once, or what was at stake in them."""


def probe(train: Blocks, labels: Labels, test: Blocks, classes: int) -> Floats:
    """Scores (M, C) of the `test` samples by a ridge probe fitted on `train`, whose penalty leave-one-out chose.

    Features that do not vary at all leave the class frequencies.
    """
    return ridge(train, np.eye(classes)[labels], test, np.ones(len(labels)))


def ridge(train: Blocks, targets: Floats, test: Blocks, weights: Floats) -> Floats:
    """`probe` for any targets (N, C), with weights (N,): how many marks each of these stands for."""
    x, z = _standardised(train, test, weights)
    mean, root = np.average(targets, 0, weights), np.sqrt(weights / weights.mean())[:, None]
    left, values = _decomposed(root * x)
    if not len(values):
        return np.tile(mean, (len(z), 1))
    centred = root * (targets - mean)
    projected = left.T @ centred
    best, chosen = np.inf, STRENGTHS[0]
    for strength in STRENGTHS:
        kept = values / (values + strength * values.mean())
        residual = centred - left @ (kept[:, None] * projected)
        leverage = (left**2) @ kept + root[:, 0] ** 2 / len(x)
        error = float(((residual / (1 - np.minimum(leverage, 1 - 1e-9))[:, None]) ** 2).mean())
        if error < best:
            best, chosen = error, strength
    dual = left @ (projected / (values + chosen * values.mean())[:, None])
    scores: Floats = z @ ((root * x).T @ dual) + mean
    return scores


def _standardised(train: Blocks, test: Blocks, weights: Floats) -> tuple[Floats, Floats]:
    """All blocks side by side, with mean 0 and deviation 1 on the training part, divided by the root of their width."""
    parts = []
    for own, other in zip(train, test, strict=True):
        mean = np.average(own, 0, weights)
        deviation = np.sqrt(np.average((own - mean) ** 2, 0, weights))
        # as in `tlpipe.train.heads.head`: a feature that hardly varies is noise
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


def few(labels: Labels, seed: int) -> tuple[NDArray[np.int64], Floats]:
    """Positions of at most FITTED marks, ascending, and how many marks each stands for.

    All of the rarer labels are kept and a seeded draw of the commoner ones, so that O, or a token that begins nothing,
    does not crowd out what there is to learn.
    """
    counts = np.bincount(labels)
    cap = int(counts.max())
    if len(labels) > FITTED:
        caps = np.arange(1, cap + 1)
        cap = int(caps[np.minimum(counts, caps[:, None]).sum(1) <= FITTED].max(initial=1))
    kept = np.flatnonzero(rank_in_class(labels, seed) * counts[labels] < cap)
    return kept, np.maximum(counts / cap, 1.0)[labels[kept]]


def held_out(blocks: Blocks, marks: Marks, fold: NDArray[np.int64], among: NDArray[np.bool_], seed: int) -> Floats:
    """Scores (M, C) of all marks by probes that saw no mark of their unit.

    Args:
        blocks: Features of the marks.
        marks: What is asked of them.
        fold: (U,) fold of each unit; a probe is fitted on all others.
        among: (U,) units that probes may be fitted on; where a fold leaves less than two of them, all that it leaves.
        seed: Of the marks that a probe is fitted on where there are more than FITTED.
    """
    scores = np.empty(marks.answers.shape)
    for each in np.unique(fold):
        held = np.flatnonzero((fold == each)[marks.units])
        others = fold != each
        mine = others & among
        used = np.flatnonzero((mine if mine.sum() > 1 else others)[marks.units])
        fit = _logistic if marks.logistic else _ridge
        scores[held] = fit(blocks, marks, used, held, seed)
    return scores


def _ridge(blocks: Blocks, marks: Marks, used: Labels, held: Labels, seed: int) -> Floats:
    kept, weights = few(marks.labels[used], seed)
    own = used[kept]
    return ridge([block[own] for block in blocks], marks.answers[own], [block[held] for block in blocks], weights)


def _logistic(blocks: Blocks, marks: Marks, used: Labels, held: Labels, seed: int) -> Floats:
    """The head itself; its penalty is chosen on every fourth unit of those that may be `used`."""
    place = np.unique(marks.units[used], return_inverse=True)[1]
    own, judges = used[place % 4 > 0], used[place % 4 == 0]
    kept, weights = few(marks.labels[own], seed)
    own, classes = own[kept], marks.answers.shape[1]
    stands_for = np.ones(classes)
    stands_for[marks.labels[own]] = weights
    train, validation = ((_side_by_side(blocks, rows), torch.from_numpy(marks.labels[rows])) for rows in (own, judges))
    widths = [block.shape[1] for block in blocks]
    fitted = HEAD.fit(train, validation, classes, widths, stands_for=torch.from_numpy(stands_for))
    scores: Floats = (_side_by_side(blocks, held).double() @ fitted.weight.T + fitted.bias).numpy()
    return scores


def _side_by_side(blocks: Blocks, rows: Labels) -> torch.Tensor:
    return torch.from_numpy(np.concatenate([block[rows] for block in blocks], 1))


def cross_validate(blocks: Blocks, marks: Marks, seed: int) -> Measured:
    """What probes win on units that they were not fitted on: every unit is held out once."""
    return measured(cross_fitted(blocks, marks, seed))


def cross_fitted(blocks: Blocks, marks: Marks, seed: int) -> Floats:
    """Counts (U, 2) of what probes win, and of what is at stake, in units that they were not fitted on."""
    fold = deal(marks.strata, seed)
    return np.asarray(marks.counts(held_out(blocks, marks, fold, np.ones(len(fold), bool), seed)), np.float64)


class Gain(NamedTuple):
    """A difference of two scores on the same units, with its paired 95 % interval."""

    value: float
    low: float
    high: float


def gain(first: Floats, second: Floats) -> Gain:
    """How much more of the same is won by the first of two probes, counts (U, 2) each.

    The interval is Bonett and Price's (2012) for paired proportions: a unit more that each of the two wins alone keeps
    it from having no width where they hardly differ. Units with more at stake are taken whole.
    """
    stake = first[:, 1].sum()
    won, share = first[:, 0] - second[:, 0], max(float(first[:, 1].mean()), 1e-12)
    value = float(won.sum() / max(stake, 1e-12))
    size = stake + 2 * share
    centre = won.sum() / size
    apart = float(((won - centre * first[:, 1]) ** 2).sum() + 2 * share**2)
    error = NORMAL * apart**0.5 / size
    return Gain(value, max(-1.0, float(centre - error)), min(1.0, float(centre + error)))


def measured(counts: Floats) -> Measured:
    """The share that is won of what is at stake, counts (U, 2), with its standard error.

    Where a unit has more than one thing at stake they hang together: the error of independent ones is multiplied by the
    root of the design effect (Kish 1965), the variance over units in relation to theirs, where that is above 1.
    """
    won, stake = counts.sum(0)
    value, share = won / max(stake, 1e-12), (won + 2) / (stake + 4)
    independent = value * (1 - value) * stake
    apart = float(((counts[:, 0] - value * counts[:, 1]) ** 2).sum())
    effect = max(1.0, apart / independent) if independent > 1e-9 else 1.0
    sigma = np.sqrt(share * (1 - share) / (stake + 4) * effect)
    return Measured(float(value), float(sigma), round(float(stake)))
