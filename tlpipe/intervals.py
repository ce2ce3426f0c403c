"""Confidence intervals: exact ones of proportions, and the cluster bootstrap with its corrections for few clusters.

A sample belongs to a cluster (a patient, a document), and clusters are resampled whole. Two samples are added to every
resample that nobody observed, one that is right and one that is wrong, so that no interval has a width of zero where
all samples are right. How well each interval covers is in benchmarks/results/intervals.json.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]

NORMAL = 1.959963984540054
"""97.5 % quantile of the normal distribution."""
CELLS = 1_000_000
"""Entries of `counts` that are in memory at once."""
PSEUDO_SHARE = 0.25
"""Size of an added sample, as a share of the mean cluster; at least one sample."""


class Interval(NamedTuple):
    """A value with its 95 % confidence interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Design:
    """How samples hang together: `cluster` (N,) numbers each sample's cluster from 0, `kinds` (K,) sums to one.

    Added samples are of kind k (a class, a type) with probability `kinds[k]`.
    """

    cluster: Labels
    kinds: Floats

    @property
    def size(self) -> int:
        """Samples."""
        return len(self.cluster)

    @cached_property
    def sizes(self) -> Floats:
        """Samples of each cluster (G,)."""
        return np.bincount(self.cluster).astype(np.float64)

    @property
    def independent(self) -> bool:
        """Whether every sample is a cluster of its own."""
        return len(self.sizes) == self.size

    @property
    def weight(self) -> float:
        """Samples that each added one counts for."""
        return max(1.0, PSEUDO_SHARE * self.size / len(self.sizes))

    @cached_property
    def critical(self) -> float:
        """97.5 % quantile of Student's t for the effective number of clusters, which uneven sizes lower."""
        from scipy.special import stdtrit

        sizes = self.sizes
        effective = sizes.sum() ** 2 / (sizes**2).sum()
        return float(stdtrit(max(effective - 1, 1.0), 0.975))


def clusters(groups: Sequence[str]) -> Labels:
    """Number of each sample's cluster, in order of appearance (N,); an empty name is a cluster of its own."""
    numbers: dict[str | int, int] = {}
    return np.array([numbers.setdefault(name or at, len(numbers)) for at, name in enumerate(groups)], np.int64)


def uniform(counts: NDArray[Any]) -> Floats:
    """Equal shares of what occurs (K,); of everything where nothing does."""
    there = (counts > 0) | (counts.sum() == 0)
    return np.asarray(there / there.sum())


def resamplings(design: Design, resamples: int, seed: int, extra: bool = True) -> Iterator[Floats]:
    """How often each sample counts in each resample, in blocks (N + 2 K, R); `extra` False leaves the last 2 K out.

    The rows after the samples are the wrong ones of each kind, then the right ones. Equal designs and seeds draw the
    same resamples.
    """
    generator = np.random.default_rng(seed)
    groups = len(design.sizes) + 2 * extra
    block = max(1, CELLS // (design.size + 2 * extra * len(design.kinds)))
    for start in range(0, resamples, block):
        count = min(block, resamples - start)
        drawn = generator.integers(groups, size=(count, groups)) + groups * np.arange(count)[:, None]
        times = np.bincount(drawn.ravel(), minlength=groups * count).reshape(count, groups).T
        counts = times[design.cluster].astype(np.float64, order="C")
        if extra:
            added = [generator.multinomial(each, design.kinds).T * design.weight for each in times[-2:]]
            counts = np.concatenate([counts, *added])
        yield counts


def mid_p(share: float, size: float, critical: float = NORMAL) -> tuple[float, float]:
    """Mid-P interval of a binomial proportion (Lancaster 1961; Berry & Armitage 1995): 95 % bounds.

    Args:
        share: Observed proportion.
        size: Number of trials; an effective one need not be whole (Korn & Graubard 1998).
        critical: Quantile that stands for 1.96; a larger one makes `size` smaller.
    """
    from scipy.special import betainc

    trials = size * (NORMAL / critical) ** 2
    hits = min(max(share, 0.0), 1.0) * trials

    def above(chance: float) -> float:
        """P(more hits than observed) + P(as many) / 2."""
        least = betainc(hits, trials - hits + 1, chance) if hits > 0 else 1.0
        more = betainc(hits + 1, trials - hits, chance) if hits < trials else 0.0
        return float(least + more) / 2

    low = _root(lambda chance: above(chance) < 0.025) if hits > 0 else 0.0
    high = _root(lambda chance: above(chance) < 0.975) if hits < trials else 1.0
    return low, high


def _root(below: Callable[[float], bool]) -> float:
    """Where `below`, true from 0 on, turns false."""
    low, high = 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if below(middle) else (low, middle)
    return (low + high) / 2


def of_outcomes(outcomes: Floats) -> Interval:
    """Mid-P interval of the mean of independent outcomes (N,), 0 or 1, or each the mean of several trainings' ones.

    Means of several vary less than outcomes that are 0 or 1 and are worth as many more samples; a right and a wrong
    sample more keep that from being endless where all of them agree.
    """
    added = np.concatenate([outcomes, [0.0, 1.0]])
    value, centre = float(outcomes.mean()), added.mean()
    return Interval(value, *mid_p(value, len(outcomes) * float(centre * (1 - centre) / added.var())))


def of_share(value: float, draws: Floats, design: Design) -> Interval | None:
    """Interval of a figure from 0 to 1 by its resamples (R,), added samples included; None where none applies.

    The variance over resamples says how many independent samples the figure is worth; the interval is that of a
    proportion of so many, with Student's quantile for few clusters.
    """
    size = effective_size(draws, design)
    return Interval(value, *mid_p(value, size, design.critical)) if size > 0 else None


def effective_size(draws: Floats, design: Design) -> float:
    """Independent samples whose proportion would vary as the resamples (R,) do; 0 where they do not."""
    valid = draws[np.isfinite(draws)]
    if len(valid) < 2:
        return 0.0
    centre, variance = _moments(valid, design)
    if not variance > 0:
        return 0.0
    return centre * (1 - centre) / variance * design.size / (design.size + 2 * design.weight)


def of_difference(value: float, draws: Floats, design: Design) -> Interval:
    """Interval of a difference of figures from 0 to 1 by its paired resamples (R,); infinite where none applies.

    Bonett & Price (2012) for any figure: each side is right once and wrong once where the other is not.
    """
    valid = draws[np.isfinite(draws)]
    if len(valid) < 2:
        return Interval(value, -np.inf, np.inf)
    scale = (design.size + 2 * design.weight) / design.size
    reach = design.critical * scale * _moments(valid, design)[1] ** 0.5
    return Interval(value, value - reach, value + reach)


def _moments(draws: Floats, design: Design) -> tuple[float, float]:
    """Mean and variance of resamples; the bootstrap's variance is too small by one cluster."""
    groups = len(design.sizes) + 2
    return float(draws.mean()), float(draws.var(ddof=1)) * groups / (groups - 1)


def of_percentiles(value: float, draws: Floats, design: Design, centre: bool = False) -> Interval | None:
    """Expanded percentile interval (Hesterberg 2015) of any figure by its resamples (R,); None where none applies.

    Percentiles are moved outwards as Student's quantile is from the normal one. `centre` shifts the interval back by
    what resampling adds to the figure.
    """
    from scipy.special import ndtr

    valid = draws[np.isfinite(draws)]
    if not len(valid):
        return None
    groups = len(design.sizes)
    tail = 100 * float(ndtr(-design.critical * (groups / max(groups - 1, 1)) ** 0.5))
    low, high = np.percentile(valid, [tail, 100 - tail])
    shift = valid.mean() - value if centre else 0.0
    return Interval(value, float(low - shift), float(high - shift))


def lost_at_most(worse: float, better: float, size: float) -> tuple[float, float]:
    """Exact one-sided 95 % bounds (lower, upper) of a loss: share of pairs made worse minus share made better.

    The upper one is Clopper & Pearson's bound of the worse at 4 %, minus that of the better at 1 %: by Bonferroni it is
    too low in at most 5 % of draws, whatever the two shares. The lower one is likewise.

    Args:
        worse: Pairs of which only the first is right.
        better: Pairs of which only the second is right.
        size: All pairs; where they hang together the effective number, and the others in proportion.
    """
    return _least(worse, size, 0.01) - _most(better, size, 0.04), _most(worse, size, 0.04) - _least(better, size, 0.01)


def pairs_needed(worse: float, better: float, size: float, allowed: float) -> int | None:
    """How many pairs would bring the upper bound of `lost_at_most` to `allowed` if the shares stay; None: never."""
    if size <= 0 or (worse - better) / size >= allowed:
        return None
    low, high = 1, 1
    while _upper(worse / size, better / size, high) > allowed:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _upper(worse / size, better / size, middle) > allowed else (low, middle)
    return high


def _upper(worse: float, better: float, size: int) -> float:
    return lost_at_most(worse * size, better * size, size)[1]


def _most(count: float, size: float, tail: float) -> float:
    from scipy.special import betaincinv

    return float(betaincinv(count + 1, size - count, 1 - tail)) if count < size else 1.0


def _least(count: float, size: float, tail: float) -> float:
    from scipy.special import betaincinv

    return float(betaincinv(count, size - count + 1, tail)) if count > 0 else 0.0
