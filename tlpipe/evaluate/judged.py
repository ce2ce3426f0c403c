"""Predictions of validation and test samples: the contract that every task's class keeps, and their intervals."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from tlpipe.data.packed import Packed, Split
from tlpipe.intervals import Design, Interval, of_difference, of_outcomes, of_percentiles, of_share
from tlpipe.metric_facts import facts
from tlpipe.tasks import facet


class Judged(Protocol):
    """What one model said, and how good that was. Everything that is resampled is resampled by samples."""

    @classmethod
    def assemble(cls, packed: Packed, said: Mapping[Split, Any], fitted: Mapping[str, float] | None = None) -> Self:
        """From what `predict` gave, by split, and what validation chose besides the temperature (`About.fitted`)."""

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote. Raises ConfigError when there is no such file."""

    def save(self, path: Path) -> None:
        """Write predictions.csv."""

    def of(self, split: Split) -> Self:
        """The samples of one split."""

    @property
    def splits(self) -> tuple[str, ...]:
        """Of each row (N,)."""

    def take(self, chosen: Sequence[int]) -> Self:
        """The rows of these positions."""

    @property
    def size(self) -> int:
        """Samples."""

    def measure(self) -> dict[str, float]:
        """Every metric that applies; the first is the headline."""

    @property
    def design(self) -> Design:
        """How the samples are resampled: what hangs together whole."""

    def outcomes(self, metric: str) -> NDArray[np.float64] | None:
        """Whether each independent sample is right, where `metric` is the share of these; None for other metrics."""

    def draw(
        self, metrics: Sequence[str], resamples: int, seed: int, mirrored: bool = False
    ) -> dict[str, NDArray[np.float64]]:
        """Each metric on every resample of the samples (R,), which are the same ones for all models.

        Two samples are added to those of shares, a wrong and a right one; `mirrored` swaps them.
        """

    @property
    def scores(self) -> NDArray[np.float64]:
        """How right each sample is, 0 to 1 (S,)."""

    def agrees(self, other: Self) -> NDArray[np.bool_]:
        """Of which samples `other`, about the same ones, says the same, right or wrong (S,)."""

    def alike(self, other: Self) -> bool:
        """Whether the other is about the same samples with the same labels."""

    def per_class(self) -> list[tuple[str, float, float, float, int]]:
        """(class, precision, recall, F1, support), in order."""


def predictions_of(task: str) -> type[Judged]:
    """The class of a task's predictions, by the kind of the task."""
    predictions: type[Judged] = facet(task, "evaluation:Predictions")
    return predictions


def intervals(trainings: Sequence[Judged], resamples: int, seed: int) -> dict[str, Interval]:
    """The mean over trainings of every metric that applies, each with its 95 % interval where it has one.

    A proportion of independent samples has its mid-P interval; the rest is resampled (`tlpipe.intervals`). Samples are
    resampled and trainings are not: the interval is about these trainings on other samples.
    """
    values = [each.measure() for each in trainings]
    means = {name: float(np.mean([each[name] for each in values])) for name in values[0]}
    exact = {}
    for name in means:
        outcomes = [right for each in trainings if (right := each.outcomes(name)) is not None]
        if outcomes:
            exact[name] = np.mean(outcomes, axis=0)
    drawn = tuple(name for name in means if name not in exact)
    draws = [each.draw(drawn, resamples, seed) for each in trainings]
    found = {}
    for name, mean in means.items():
        if name in exact:
            found[name] = of_outcomes(exact[name])._replace(value=mean)
        elif around := _around(name, mean, np.mean([each[name] for each in draws], axis=0), trainings[0].design):
            found[name] = around._replace(low=max(around.low, 0.0))
    return found


def _around(metric: str, value: float, draws: NDArray[np.float64], design: Design) -> Interval | None:
    known = facts()[metric]
    if known.share:
        return of_share(value, draws, design)
    return of_percentiles(value, draws, design, known.centre)


def difference(first: Sequence[Judged], second: Sequence[Judged], metric: str, resamples: int, seed: int) -> Interval:
    """Mean over the `first` trainings minus mean over the `second`, with its paired 95 % interval.

    Every resample of the samples is one for all trainings of both. An interval that holds zero means: too close to
    call on these samples. Its bounds are infinite where the metric never applies.
    """
    sides = ((first, False), (second, True))
    one, other = (
        np.mean([each.draw((metric,), resamples, seed, mirrored)[metric] for each in side], axis=0)
        for side, mirrored in sides
    )
    values = [float(np.mean([each.measure()[metric] for each in side])) for side, _ in sides]
    value, design = values[0] - values[1], first[0].design
    if facts()[metric].share:
        return of_difference(value, one - other, design)
    found = of_percentiles(value, one - other, design, facts()[metric].centre)
    return found or Interval(value, -np.inf, np.inf)


def title(metric: str) -> str:
    """The metric's name for people."""
    return facts()[metric].title if metric in facts() else metric.replace("_", " ")


def lower_title(metric: str) -> str:
    """The name in the middle of a sentence: abbreviations and proper names stay capitals."""
    named = title(metric)
    return named if named[:2].isupper() or metric == "brier" else named[0].lower() + named[1:]
