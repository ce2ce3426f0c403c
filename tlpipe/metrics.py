"""Classification metrics, of the samples themselves and of many resamples of them.

Every metric is computed for many resamples at once: `counts` (N, R) says how often sample n was drawn in resample r;
a column of ones is the sample itself. NaN means that the metric does not apply; `measure` leaves those out.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tlpipe.intervals import Design, resamplings, uniform

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]
Resampled = Callable[[Labels, Floats, Floats], Floats]

ECE_BINS = 15


@dataclass(frozen=True)
class Bin:
    """One bin of a reliability diagram."""

    bin: int
    confidence: float
    """Mean of the highest probability in the bin."""
    accuracy: float
    count: int


@dataclass(frozen=True)
class Metric:
    """One metric: call it with labels (N,) and probabilities (N, C)."""

    title: str
    higher_is_better: bool
    over: Resampled
    """labels (N,), probabilities (N, C), counts (N, R) -> values (R,); NaN where the metric does not apply."""
    share: bool = True
    """From 0 to 1, and a sample may be right or wrong: its interval is that of a proportion."""
    centre: bool = False
    """Resampling biases the metric upwards (duplicates look like miscalibration): shift the interval back by that."""

    def __call__(self, labels: Labels, probabilities: Floats) -> float:
        """The metric of the sample; NaN where it does not apply."""
        labels, probabilities = _checked(labels, probabilities)
        return float(self.over(labels, probabilities, np.ones((len(labels), 1)))[0])


def _checked(labels: Labels, probabilities: Floats) -> tuple[Labels, Floats]:
    labels, probabilities = np.asarray(labels, np.int64), np.asarray(probabilities, np.float64)
    if probabilities.ndim != 2 or labels.shape != probabilities.shape[:1] or not len(labels):
        raise ValueError(f"need labels (N,) and probabilities (N, C), got {labels.shape} and {probabilities.shape}")
    if labels.min() < 0 or labels.max() >= probabilities.shape[1]:
        raise ValueError(
            f"labels must be 0 to {probabilities.shape[1] - 1}, got {labels.min()} to {labels.max()}: "
            "one column of probabilities a class"
        )
    if not np.isfinite(probabilities).all():
        raise ValueError("probabilities must be finite; the network's outputs are not (the training diverged?)")
    return labels, probabilities


def _mean(per_sample: Floats, counts: Floats) -> Floats:
    return np.asarray(per_sample @ counts / counts.sum(0))


def _accuracy(labels: Labels, probabilities: Floats, counts: Floats) -> Floats:
    return _mean((probabilities.argmax(1) == labels).astype(np.float64), counts)


def _log_loss(labels: Labels, probabilities: Floats, counts: Floats) -> Floats:
    tiny = np.finfo(np.float64).eps
    return _mean(-np.log(np.clip(probabilities[np.arange(len(labels)), labels], tiny, 1 - tiny)), counts)


def _brier(labels: Labels, probabilities: Floats, counts: Floats) -> Floats:
    return _mean(((probabilities - np.eye(probabilities.shape[1])[labels]) ** 2).sum(1), counts)


def _tally(labels: Labels, probabilities: Floats, counts: Floats) -> tuple[Floats, Floats, Floats]:
    """Hits, support and predictions of every class: each (C, R)."""
    one_hot = np.eye(probabilities.shape[1])
    actual, predicted = one_hot[labels], one_hot[probabilities.argmax(1)]
    return (actual * predicted).T @ counts, actual.T @ counts, predicted.T @ counts


def _mean_where(values: Floats, there: NDArray[np.bool_]) -> Floats:
    return np.asarray(np.where(there, values, 0).sum(0) / there.sum(0))


def _balanced_accuracy(labels: Labels, probabilities: Floats, counts: Floats) -> Floats:
    hits, support, _ = _tally(labels, probabilities, counts)
    return _mean_where(hits / np.where(support > 0, support, 1), support > 0)


def _macro_f1(labels: Labels, probabilities: Floats, counts: Floats) -> Floats:
    hits, support, predicted = _tally(labels, probabilities, counts)
    together = support + predicted
    return _mean_where(2 * hits / np.where(together > 0, together, 1), together > 0)


def _by_confidence(labels: Labels, probabilities: Floats) -> tuple[NDArray[np.int64], Floats, Floats]:
    """Order of rising confidence, then confidence and correctness in that order (ties do not depend on row order)."""
    confidence, correct = probabilities.max(1), (probabilities.argmax(1) == labels).astype(np.float64)
    order = np.lexsort((correct, confidence))
    return order, confidence[order], correct[order]


def _ece(labels: Labels, probabilities: Floats, counts: Floats) -> Floats:
    order, confidence, correct = _by_confidence(labels, probabilities)
    gap = correct - confidence
    values = []
    for times in counts[order].astype(np.int64).T:  # clusters of unequal sizes make resamples of unequal ones
        drawn = np.repeat(gap, times)
        values.append(np.abs(np.add.reduceat(drawn, _starts(len(drawn)))).sum() / len(drawn))
    return np.array(values)


def _starts(size: int) -> NDArray[np.int64]:
    """First index of each of up to ECE_BINS bins of equal mass (as np.array_split cuts)."""
    lengths = [len(part) for part in np.array_split(np.arange(size), min(ECE_BINS, size))]
    return np.concatenate([[0], np.cumsum(lengths)[:-1]]).astype(np.int64)


def _auroc(labels: Labels, probabilities: Floats, counts: Floats) -> Floats:
    classes = probabilities.shape[1]
    drawn = counts.astype(np.float32)
    columns = range(classes) if classes > 2 else range(1, classes)
    total = np.zeros(counts.shape[1])
    for column in columns:
        total += _one_vs_rest(labels == column, probabilities[:, column], drawn)
    return total / len(columns) if len(columns) else np.full_like(total, np.nan)


def _one_vs_rest(positive: NDArray[np.bool_], score: Floats, counts: NDArray[np.float32]) -> Floats:
    """P(score of a positive > score of a negative) + P(equal) / 2 of each resample (R,); NaN if one side is empty.

    Sums are taken over stretches of the ranking that begin or end at a score that some positive has, so that all but
    one pass over the ranking costs what the positives are, not what the samples are.
    """
    if not positive.any():
        return np.full(counts.shape[1], np.nan)
    order = np.argsort(score, kind="stable")
    ranked, where = score[order], np.flatnonzero(positive[order])
    scores = np.unique(ranked[where])
    edges = np.unique(np.r_[0, np.searchsorted(ranked, scores, "left"), np.searchsorted(ranked, scores, "right")])
    edges = edges[edges < len(ranked)]
    drawn = np.add.reduceat(counts[order], edges, axis=0).astype(np.float64)
    stretch = np.searchsorted(edges, where, "right") - 1
    held, first = np.unique(stretch, return_index=True)
    above = np.add.reduceat(counts[order[where]], first, axis=0).astype(np.float64)
    drawn[held] -= above
    below = drawn.cumsum(0)[held] - drawn[held] / 2
    pairs = above.sum(0) * drawn.sum(0)
    return np.where(pairs > 0, (above * below).sum(0) / np.maximum(pairs, 1), np.nan)


METRICS: dict[str, Metric] = {
    "accuracy": Metric("Accuracy", True, _accuracy),
    "balanced_accuracy": Metric("Balanced accuracy", True, _balanced_accuracy),
    "macro_f1": Metric("Macro F1", True, _macro_f1),
    "log_loss": Metric("Log loss", False, _log_loss, share=False),
    "brier": Metric("Brier score", False, _brier, share=False),
    "ece": Metric("Calibration error (ECE)", False, _ece, share=False, centre=True),
    "auroc": Metric("AUROC", True, _auroc),
}
"""`macro_f1` and `balanced_accuracy` average over the classes that occur, `auroc` is macro one-vs-rest and needs every
class, `brier` sums over the classes (0 to 2), `ece` has 15 bins of equal mass over the highest probability."""


def measure(labels: Labels, probabilities: Floats) -> dict[str, float]:
    """Every metric that applies to labels (N,) and probabilities (N, C)."""
    values = {name: metric(labels, probabilities) for name, metric in METRICS.items()}
    return {name: value for name, value in values.items() if np.isfinite(value)}


def reliability(labels: Labels, probabilities: Floats) -> list[Bin]:
    """The bins behind `ece`, from the least to the most confident."""
    labels, probabilities = _checked(labels, probabilities)
    _, confidence, correct = _by_confidence(labels, probabilities)
    starts = _starts(len(labels))
    ends = np.append(starts[1:], len(labels))
    return [
        Bin(index, float(confidence[low:high].mean()), float(correct[low:high].mean()), int(high - low))
        for index, (low, high) in enumerate(zip(starts, ends, strict=True))
    ]


def design(labels: Labels, cluster: Labels) -> Design:
    """How labelled samples are resampled; what is added to them is of each class that occurs equally often.

    As often as the class occurs would say too little of a rare one, which a mean over classes hangs on.
    """
    return Design(cluster, uniform(np.bincount(labels)))


def draw(
    names: Iterable[str],
    labels: Labels,
    probabilities: Floats,
    design: Design,
    resamples: int,
    seed: int,
    mirrored: bool = False,
) -> dict[str, Floats]:
    """Each metric on every resample (R,), NaN where it does not apply; equal designs and seeds draw the same samples.

    Shares are of the samples and the added ones; `mirrored` swaps which of these are right, as pairs need it.
    """
    labels, probabilities = _checked(labels, probabilities)
    drawn: dict[str, Floats] = {}
    for extra in (True, False):
        chosen = [name for name in names if METRICS[name].share == extra]
        sample = _with_added(labels, probabilities, design, mirrored) if extra else (labels, probabilities)
        blocks = [
            [METRICS[name].over(*sample, counts) for name in chosen]
            for counts in resamplings(design, resamples if chosen else 0, seed, extra)
        ]
        drawn |= dict(zip(chosen, np.concatenate(blocks, axis=1) if blocks else [], strict=True))
    return drawn


def _with_added(labels: Labels, probabilities: Floats, design: Design, mirrored: bool) -> tuple[Labels, Floats]:
    """The samples, then one of each kind that is surely wrong, then one of each that is right; or the other way."""
    kinds, classes = len(design.kinds), probabilities.shape[1]
    there = np.flatnonzero(design.kinds)
    other = (np.arange(kinds) + 1) % classes
    if len(there) > 1:  # the next class that occurs: a class that does not would count in a mean over classes
        other = there[np.searchsorted(there, np.arange(kinds), "right") % len(there)]
    parts = [np.eye(classes)[other], np.eye(classes)[:kinds]]
    added = np.concatenate(parts[::-1] if mirrored else parts)
    return np.concatenate([labels, np.tile(np.arange(kinds), 2)]), np.concatenate([probabilities, added])
