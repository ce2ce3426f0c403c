"""Metrics of what is summed over samples first, such as F1 over the entities of sentences, and their intervals.

Resampling draws whole samples (sentences, questions), never the words in them: those of one sample hang together.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from tlpipe.intervals import Design, resamplings

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class SumMetric:
    """One metric of what `columns` (S, K) of S samples add up to."""

    title: str
    higher_is_better: bool
    of: Callable[[Floats], Floats]
    """Sums (K, R) of R resamples -> values (R,); NaN where the metric does not apply."""
    share: bool = True
    """See `tlpipe.metrics.Metric`."""
    centre: ClassVar[bool] = False
    """Resampling whole samples does not bias it; see `tlpipe.metrics.Metric`."""


def measure_sums(columns: Floats, metrics: Mapping[str, SumMetric]) -> dict[str, float]:
    """Every metric that applies to the samples themselves."""
    sums = columns.sum(axis=0)[:, None]
    values = {name: float(metric.of(sums)[0]) for name, metric in metrics.items()}
    return {name: value for name, value in values.items() if np.isfinite(value)}


def draw_sums(
    columns: Floats,
    metrics: Mapping[str, SumMetric],
    added: tuple[Floats, Floats],
    design: Design,
    resamples: int,
    seed: int,
) -> dict[str, Floats]:
    """Each metric on every resample of the samples (R,); see `tlpipe.metrics.draw`.

    Args:
        columns: (S, K) of the samples.
        metrics: By name.
        added: Columns of the added samples of each kind: the first ones', then the others'.
        design: Of the samples.
        resamples: How many.
        seed: Equal designs and seeds draw the same samples.
    """
    drawn: dict[str, Floats] = {}
    for extra in (True, False):
        chosen = {name: metric for name, metric in metrics.items() if metric.share == extra}
        if chosen:
            table = np.concatenate([columns, *added]) if extra else columns
            blocks = [table.T @ counts for counts in resamplings(design, resamples, seed, extra)]
            drawn |= {name: metric.of(np.concatenate(blocks, axis=1)) for name, metric in chosen.items()}
    return drawn


def ratio(above: Any, below: Any) -> Floats:
    """`above` / `below`, 0 where nothing is to be counted: as seqeval and conlleval have it."""
    return np.asarray(np.divide(above, np.maximum(below, 1e-300)) * (np.asarray(below) > 0))
