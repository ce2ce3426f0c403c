"""What models say of the validation and test samples, by the kind of data, and what is known of every metric."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from tlpipe.data.packed import Packed, Split
from tlpipe.evaluate.answers import AnswerPredictions
from tlpipe.evaluate.predictions import Predictions
from tlpipe.evaluate.tags import TagPredictions
from tlpipe.metrics import Interval, interval
from tlpipe.tasks.base import FACTS


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
    def size(self) -> int:
        """Samples."""

    def measure(self) -> dict[str, float]:
        """Every metric that applies; the first is the headline."""

    def draw(self, metrics: Iterable[str], resamples: int, seed: int) -> dict[str, NDArray[np.float64]]:
        """Each metric on every resample of the samples (R,), which are the same ones for all models."""

    def agreement(self, other: Self) -> float:
        """Share of the samples of which `other`, about the same ones, says the same, right or wrong."""

    def alike(self, other: Self) -> bool:
        """Whether the other is about the same samples with the same labels."""

    def per_class(self) -> list[tuple[str, float, float, float, int]]:
        """(class, precision, recall, F1, support), in order."""


JUDGED: dict[str, type[Judged]] = {
    "image": Predictions,
    "text": Predictions,
    "words": TagPredictions,
    "questions": AnswerPredictions,
}
"""By the kind of preprocessing."""


def bootstrap(trainings: Sequence[Judged], resamples: int, seed: int) -> dict[str, Interval]:
    """The mean over trainings of every metric that applies, each with its 95 % interval where it has one.

    Samples are resampled and trainings are not: the interval is about these trainings on other samples.
    """
    values = [each.measure() for each in trainings]
    draws = [each.draw(values[0], resamples, seed) for each in trainings]
    found = {}
    for name in values[0]:
        mean = float(np.mean([each[name] for each in values]))
        found[name] = interval(mean, np.mean([each[name] for each in draws], axis=0), FACTS[name].centre)
    return {name: each._replace(low=max(each.low, 0.0)) for name, each in found.items() if each is not None}


def difference(first: Sequence[Judged], second: Sequence[Judged], metric: str, resamples: int, seed: int) -> Interval:
    """Mean over the `first` trainings minus mean over the `second`, with its paired 95 % interval.

    Every resample of the samples is one for all trainings of both. An interval that holds zero means: too close to
    call on these samples. Its bounds are infinite where the metric never applies.
    """
    sides = (first, second)
    one, other = (np.mean([each.draw((metric,), resamples, seed)[metric] for each in side], axis=0) for side in sides)
    values = [float(np.mean([each.measure()[metric] for each in side])) for side in sides]
    value = values[0] - values[1]
    return interval(value, one - other, FACTS[metric].centre) or Interval(value, -np.inf, np.inf)


def title(metric: str) -> str:
    """The metric's name for people."""
    return FACTS[metric].title if metric in FACTS else metric.replace("_", " ")


def lower_title(metric: str) -> str:
    """The name in the middle of a sentence: abbreviations and proper names stay capitals."""
    named = title(metric)
    return named if named[:2].isupper() or metric == "brier" else named[0].lower() + named[1:]
