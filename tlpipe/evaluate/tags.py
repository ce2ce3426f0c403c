"""What a model said of every word, judged by the entities of whole sentences."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from tlpipe.entities import ENTITY_METRICS, Entity, added, columns, entities, per_type
from tlpipe.evaluate.predictions import Predictions
from tlpipe.intervals import Design, clusters
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

    @cached_property
    def design(self) -> Design:
        """How the sentences are resampled: documents whole."""
        first = np.flatnonzero(np.diff(self.sentences, prepend=-1))
        groups = [self.groups[word] if self.groups else "" for word in first]
        return Design(clusters(groups), added(self.columns, self.classes)[0])

    def outcomes(self, metric: str) -> Floats | None:
        """None: words and entities of a sentence are not independent."""
        return None

    def draw(self, metrics: Sequence[str], resamples: int, seed: int, mirrored: bool = False) -> dict[str, Floats]:
        """Each metric on every resample of the sentences (R,)."""
        _, wrong, right = added(self.columns, self.classes)
        pair = (right, wrong) if mirrored else (wrong, right)
        chosen = {name: ENTITY_METRICS[name] for name in metrics}
        return draw_sums(self.columns, chosen, pair, self.design, resamples, seed)

    @property
    def scores(self) -> Floats:
        """F1 of each sentence's entities, 1 where there are none and none are predicted (S,)."""
        right, predicted, true = self.columns[:, :-5].reshape(self.size, -1, 3).sum(axis=1).T
        together = predicted + true
        return np.where(together > 0, 2 * right / np.where(together > 0, together, 1), 1.0)

    def agrees(self, other: Self) -> NDArray[np.bool_]:
        """Which sentences have the same entities (S,)."""
        pairs = zip(self._entities(self.predicted), other._entities(other.predicted), strict=True)
        return np.array([one == another for (_, one), (_, another) in pairs])

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
