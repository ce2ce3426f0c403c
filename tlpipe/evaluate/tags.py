"""What a model said of every word, judged by the entities of whole sentences."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from tlpipe.entities import ENTITY_METRICS, Entity, columns, entities, per_type
from tlpipe.evaluate.predictions import Predictions
from tlpipe.sums import Floats, draw_sums, measure_sums


class Differences(NamedTuple):
    """What is wrong with the entities of a sentence."""

    sentence: int
    first: int
    """Line of its first word."""
    missed: list[Entity]
    invented: list[Entity]


@dataclass(frozen=True)
class TagPredictions(Predictions):
    """A line a word; words of a sentence follow one another and have one id."""

    @cached_property
    def sentences(self) -> NDArray[np.int64]:
        """Number of each word's sentence (W,)."""
        new = [before != after for before, after in zip(self.ids, self.ids[1:], strict=False)]
        return np.cumsum([0, *new], dtype=np.int64)[: len(self.ids)]

    @property
    def size(self) -> int:
        """Sentences."""
        return len(self.columns)

    @cached_property
    def columns(self) -> Floats:
        """What the metrics are summed from, a line a sentence."""
        tiny = np.finfo(np.float64).tiny
        likely = -np.log(np.maximum(self.probabilities[np.arange(len(self.labels)), self.labels], tiny))
        return columns(self.classes, self.labels, self.predicted, likely, self.sentences)

    def measure(self) -> dict[str, float]:
        """Of entities, and of words."""
        return measure_sums(self.columns, ENTITY_METRICS)

    def draw(self, metrics: Iterable[str], resamples: int, seed: int) -> dict[str, Floats]:
        """Each metric on every resample of the sentences (R,)."""
        return draw_sums(self.columns, {name: ENTITY_METRICS[name] for name in metrics}, resamples, seed)

    def agreement(self, other: Self) -> float:
        """Share of the sentences with the same entities."""
        pairs = zip(self._entities(self.predicted), other._entities(other.predicted), strict=True)
        return float(np.mean([one == another for (_, one), (_, another) in pairs]))

    def _entities(self, tags: NDArray[np.int64]) -> Iterator[tuple[int, list[Entity]]]:
        """Of each sentence by the words' tags: line of its first word, its entities."""
        names, edges = np.array(self.classes), np.flatnonzero(np.diff(self.sentences, prepend=-1, append=-1))
        for low, high in pairwise(edges.tolist()):
            yield low, entities(names[tags[low:high]].tolist())

    def differences(self) -> Iterator[Differences]:
        """Sentence by sentence, in order."""
        sentences = zip(self._entities(self.labels), self._entities(self.predicted), strict=True)
        for number, ((low, true), (_, said)) in enumerate(sentences):
            missed, invented = (
                [each for each in one if each not in other] for one, other in ((true, said), (said, true))
            )
            yield Differences(number, low, missed, invented)

    def per_class(self) -> list[tuple[str, float, float, float, int]]:
        """Of the types of entities."""
        return per_type(self.columns, self.classes)
