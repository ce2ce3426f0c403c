"""What a model said to every question, judged as the official scripts of SQuAD judge it."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from tlpipe.answer_metrics import ADDED, ANSWER_METRICS, THRESHOLD, Scored, Version, columns, outcomes, score
from tlpipe.config import ConfigError
from tlpipe.csv_files import read_rows, write_rows
from tlpipe.data.asked import Asked, asked, find, version_of
from tlpipe.data.packed import Packed, Split
from tlpipe.data.squad import ANSWERED, UNANSWERED
from tlpipe.evaluate.predictions import Predictions
from tlpipe.intervals import Design, clusters, uniform
from tlpipe.preprocess.answers import Answers
from tlpipe.sums import Floats, draw_sums, measure_sums

HEADER = ("row", "id", "split", "group", "label", "predicted", "said", "right", "exact_match", "f1", "p_unanswered")


@dataclass(frozen=True)
class AnswerPredictions(Predictions):
    """A line a question. As `Predictions` it is about whether a question has an answer; `row` is its first window's.

    Questions about one context are a group.
    """

    said: tuple[str, ...]
    """What was answered; empty for "there is no answer"."""
    right: tuple[tuple[str, ...], ...]
    """The right answers; none where there is no answer."""
    version: Version
    """By which script they are judged."""

    @property
    def predicted(self) -> NDArray[np.int64]:
        """Whether it was said that there is no answer (N,)."""
        return np.array([not text for text in self.said], np.int64)

    @classmethod
    def assemble(
        cls, packed: Packed, said: Mapping[Split, NDArray[Any]], fitted: Mapping[str, float] | None = None
    ) -> Self:
        """From the scores (T, 2) of all tokens of some splits, and the threshold that validation chose."""
        questions: dict[Split, list[Asked]] = {split: asked(packed, split) for split in said}
        threshold = (fitted or {}).get(THRESHOLD)
        found = [
            each
            for split, scores in said.items()
            for each in find(packed, questions[split], scores, nullable=threshold is not None)
        ]
        texts = [_text(each, threshold) for each in found]
        return cls.of_texts(packed, questions, texts, [each.no_answer for each in found])

    @classmethod
    def of_texts(
        cls, packed: Packed, questions: Mapping[Split, Sequence[Asked]], said: Sequence[str], none: Sequence[float]
    ) -> Self:
        """From what was said to the questions of some splits, and how probable it was that there is no answer."""
        every = [each for part in questions.values() for each in part]
        chances = np.array(none, np.float32).astype(np.float64)
        return cls(
            classes=(ANSWERED, UNANSWERED),
            rows=np.array([each.row for each in every], np.int64),
            ids=tuple(each.id for each in every),
            splits=tuple(split for split, part in questions.items() for _ in part),
            labels=np.array([not each.answers for each in every], np.int64),
            probabilities=np.stack([1 - chances, chances], axis=1),
            said=tuple(said),
            right=tuple(each.answers for each in every),
            version=version_of(packed),
            groups=tuple(hashlib.sha256(each.passage.context.encode()).hexdigest()[:12] for each in every),
        )

    def take(self, chosen: Sequence[int]) -> Self:
        """The questions of these positions."""
        said = tuple(self.said[index] for index in chosen)
        right = tuple(self.right[index] for index in chosen)
        return replace(super().take(chosen), said=said, right=right)

    @cached_property
    def scored(self) -> Scored:
        """Exact match and F1 of each question."""
        return score(self.said, self.right, self.version)

    @cached_property
    def columns(self) -> Floats:
        """What the metrics are summed from, a line a question."""
        return columns(self.scored)

    def measure(self) -> dict[str, float]:
        """F1 and exact match."""
        return measure_sums(self.columns, ANSWER_METRICS)

    @cached_property
    def design(self) -> Design:
        """How the questions are resampled: contexts whole."""
        kinds = uniform(self.columns[:, [2, 4]].sum(axis=0))
        return Design(clusters(self.groups or ("",) * self.size), kinds)

    def outcomes(self, metric: str) -> Floats | None:
        """Whether each independent question is right, where `metric` is the share of these; None for other metrics."""
        return outcomes(metric, self.scored) if self.design.independent else None

    def draw(self, metrics: Sequence[str], resamples: int, seed: int, mirrored: bool = False) -> dict[str, Floats]:
        """Each metric on every resample of the questions (R,)."""
        chosen = {name: ANSWER_METRICS[name] for name in metrics}
        return draw_sums(self.columns, chosen, ADDED[::-1] if mirrored else ADDED, self.design, resamples, seed)

    @property
    def scores(self) -> Floats:
        """F1 of each question (S,)."""
        return self.scored.f1

    def agrees(self, other: Self) -> NDArray[np.bool_]:
        """Which questions have the same answer, letter by letter (S,)."""
        return np.array([one == another for one, another in zip(self.said, other.said, strict=True)])

    def alike(self, other: Self) -> bool:
        """Whether the other is about the same questions with the same answers."""
        return super().alike(other) and self.right == other.right

    def worst(self, count: int) -> NDArray[np.int64]:
        """Positions of up to `count` questions that were answered wrong: the lowest F1, then the surest ones first."""
        sure = self.probabilities[np.arange(len(self.labels)), self.predicted]
        order = np.lexsort((-sure, self.scored.f1))
        return order[self.scored.exact[order] < 1][:count]

    def save(self, path: Path) -> None:
        """Write predictions.csv: `label` and `predicted` are whether there is an answer, `right` is a JSON list."""
        write_rows(path, [*HEADER, self.version], self._lines())

    def _lines(self) -> Iterator[tuple[object, ...]]:
        for index in range(len(self.ids)):
            names = (self.classes[self.labels[index]], self.classes[self.predicted[index]])
            group = self.groups[index] if self.groups else ""
            right = json.dumps(self.right[index], ensure_ascii=False)
            figures = (f"{each[index]:.6g}" for each in (self.scored.exact, self.scored.f1))
            chance = f"{self.probabilities[index, 1]:.9g}"
            question = (self.rows[index], self.ids[index], self.splits[index], group)
            yield *question, *names, self.said[index], right, *figures, chance

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote. Raises ConfigError when there is no such file."""
        if not path.is_file():
            raise ConfigError(f"{path} does not exist: the strategy was not evaluated; run `dvc repro`")
        header, *lines = read_rows(path)
        column = {name: [line[at] for line in lines] for at, name in enumerate(HEADER)}
        chances = np.array(column["p_unanswered"], np.float32).astype(np.float64)
        return cls(
            classes=(ANSWERED, UNANSWERED),
            rows=np.array(column["row"], np.int64),
            ids=tuple(column["id"]),
            splits=tuple(column["split"]),
            labels=np.array([name == UNANSWERED for name in column["label"]], np.int64),
            probabilities=np.stack([1 - chances, chances], axis=1),
            said=tuple(column["said"]),
            right=tuple(tuple(json.loads(each)) for each in column["right"]),
            version="v1.1" if header[-1] == "v1.1" else "v2.0",
            groups=tuple(column["group"]),
        )


def _text(found: Answers, threshold: float | None) -> str:
    span = found.said(threshold)
    return "" if span is None else span.text
