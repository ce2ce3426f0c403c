"""What models say of the validation and test samples, by the kind of data, and what is known of every metric."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, Self

from tlpipe.answer_metrics import ANSWER_METRICS
from tlpipe.data.packed import Packed, Split
from tlpipe.entities import ENTITY_METRICS
from tlpipe.evaluate.answers import AnswerPredictions
from tlpipe.evaluate.predictions import Predictions
from tlpipe.evaluate.tags import TagPredictions
from tlpipe.metrics import METRICS, Interval, Metric
from tlpipe.sums import SumMetric


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

    def bootstrap(self, resamples: int, seed: int) -> dict[str, Interval]:
        """The 95 % interval of every metric that applies and has one."""

    def difference(self, other: Self, metric: str, resamples: int, seed: int) -> Interval:
        """This minus `other`, on the same samples, in one metric, with its paired 95 % interval."""

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
FACTS: dict[str, Metric | SumMetric] = {**ANSWER_METRICS, **ENTITY_METRICS, **METRICS}
"""Title and direction of every metric, by its name."""


def title(metric: str) -> str:
    """The metric's name for people."""
    return FACTS[metric].title if metric in FACTS else metric.replace("_", " ")


def lower_title(metric: str) -> str:
    """The name in the middle of a sentence: abbreviations and proper names stay capitals."""
    named = title(metric)
    return named if named[:2].isupper() or metric == "brier" else named[0].lower() + named[1:]
