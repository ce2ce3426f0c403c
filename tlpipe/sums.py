"""Metrics of what is summed over samples first, such as F1 over the entities of sentences, and their intervals.

Resampling draws whole samples (sentences, questions), never the words in them: those of one sample hang together.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlpipe.metrics import Interval, resamplings

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class SumMetric:
    """One metric of what `columns` (S, K) of S samples add up to."""

    title: str
    higher_is_better: bool
    of: Callable[[Floats], Floats]
    """Sums (K, R) of R resamples -> values (R,); NaN where the metric does not apply."""


def measure_sums(columns: Floats, metrics: Mapping[str, SumMetric]) -> dict[str, float]:
    """Every metric that applies to the samples themselves."""
    sums = columns.sum(axis=0)[:, None]
    values = {name: float(metric.of(sums)[0]) for name, metric in metrics.items()}
    return {name: value for name, value in values.items() if np.isfinite(value)}


def bootstrap_sums(columns: Floats, metrics: Mapping[str, SumMetric], resamples: int, seed: int) -> dict[str, Interval]:
    """95 % percentile interval over resampled samples of every metric that applies; see `tlpipe.metrics.bootstrap`."""
    drawn = _draws([columns], resamples, seed)[0]
    values = measure_sums(columns, metrics)
    found = {name: _interval(value, metrics[name].of(drawn)) for name, value in values.items()}
    return {name: interval for name, interval in found.items() if interval is not None}


def difference_of_sums(first: Floats, second: Floats, metric: SumMetric, resamples: int, seed: int) -> Interval:
    """`first` minus `second`, columns of the same samples, with its paired 95 % interval."""
    one, other = _draws([first, second], resamples, seed)
    at_hand = [float(metric.of(columns.sum(axis=0)[:, None])[0]) for columns in (first, second)]
    value = at_hand[0] - at_hand[1]
    return _interval(value, metric.of(one) - metric.of(other)) or Interval(value, -np.inf, np.inf)


def ratio(above: Any, below: Any) -> Floats:
    """`above` / `below`, 0 where nothing is to be counted: as seqeval and conlleval have it."""
    return np.asarray(np.divide(above, np.maximum(below, 1e-300)) * (np.asarray(below) > 0))


def _draws(columns: Sequence[Floats], resamples: int, seed: int) -> list[Floats]:
    """Sums (K, resamples) of each of `columns` (S, K), over the same resamples."""
    blocks = [[each.T @ counts for each in columns] for counts in resamplings(len(columns[0]), resamples, seed)]
    return [np.concatenate(parts, axis=1) for parts in zip(*blocks, strict=True)]


def _interval(value: float, draws: Floats) -> Interval | None:
    valid = draws[np.isfinite(draws)]
    if not len(valid):
        return None
    low, high = np.percentile(valid, [2.5, 97.5])
    return Interval(value, float(low), float(high))
