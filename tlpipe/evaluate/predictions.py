"""What a model said of every validation and test sample, in memory and as predictions.csv."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from tlpipe.config import ConfigError
from tlpipe.csv_files import read_rows, write_rows
from tlpipe.data.packed import Packed, Split
from tlpipe.intervals import Design, clusters
from tlpipe.metrics import design, draw, measure

COLUMNS = ("row", "id", "split", "group", "label", "predicted")


@dataclass(frozen=True)
class Predictions:
    """N samples; everything is aligned. Probabilities are float32 values, which the file keeps exactly."""

    classes: tuple[str, ...]
    rows: NDArray[np.int64]
    """Rows of the packed arrays (N,)."""
    ids: tuple[str, ...]
    splits: tuple[str, ...]
    labels: NDArray[np.int64]
    """Index of the true class (N,)."""
    probabilities: NDArray[np.float64]
    """(N, C), rows sum to one."""
    groups: tuple[str, ...] = field(kw_only=True, default=())
    """What each sample hangs together with (N,), empty where it stands alone; () where all do."""

    @property
    def predicted(self) -> NDArray[np.int64]:
        """Index of the most probable class (N,)."""
        return np.asarray(self.probabilities.argmax(1), np.int64)

    @property
    def size(self) -> int:
        """Samples."""
        return len(self.rows)

    @classmethod
    def assemble(
        cls, packed: Packed, said: Mapping[Split, NDArray[Any]], fitted: Mapping[str, float] | None = None
    ) -> Self:
        """From the probabilities (m, C) of the marks of some splits; nothing else is needed of what was fitted."""
        targets, ranges = packed.targets, [packed.spans(split)[0] for split in said]
        rows = np.concatenate([targets.row(*each) for each in ranges])
        labels = np.concatenate([targets.marks[slice(*targets.range(*each))] for each in ranges])
        splits = tuple(split for split, part in said.items() for _ in part)
        probabilities = np.concatenate(list(said.values())).astype(np.float64)
        ids, groups = (tuple(names[row] for row in rows) for names in (packed.ids, packed.groups))
        return cls(packed.classes, rows, ids, splits, labels, probabilities, groups=groups)

    def of(self, split: Split) -> Self:
        """The samples of one split."""
        return self.take([index for index, name in enumerate(self.splits) if name == split])

    def take(self, chosen: Sequence[int]) -> Self:
        """The samples of these positions."""
        return replace(
            self,
            rows=self.rows[chosen],
            labels=self.labels[chosen],
            probabilities=self.probabilities[chosen],
            ids=tuple(self.ids[index] for index in chosen),
            splits=tuple(self.splits[index] for index in chosen),
            groups=tuple(self.groups[index] for index in chosen) if self.groups else (),
        )

    @cached_property
    def design(self) -> Design:
        """How the samples are resampled: groups whole."""
        return design(self.labels, clusters(self.groups or ("",) * len(self.labels)))

    def outcomes(self, metric: str) -> NDArray[np.float64] | None:
        """Whether each independent sample is right, where `metric` is the share of these; None for other metrics."""
        return self.scores if metric == "accuracy" and self.design.independent else None

    def measure(self) -> dict[str, float]:
        """Every metric that applies."""
        return measure(self.labels, self.probabilities)

    def draw(
        self, metrics: Sequence[str], resamples: int, seed: int, mirrored: bool = False
    ) -> dict[str, NDArray[np.float64]]:
        """Each metric on every resample (R,); see `tlpipe.metrics.draw`."""
        return draw(metrics, self.labels, self.probabilities, self.design, resamples, seed, mirrored)

    @property
    def scores(self) -> NDArray[np.float64]:
        """1 for each sample that is right (S,)."""
        return np.asarray(self.predicted == self.labels, np.float64)

    def agrees(self, other: Self) -> NDArray[np.bool_]:
        """Which samples have the same most probable class (S,)."""
        return np.asarray(self.predicted == other.predicted)

    def alike(self, other: Self) -> bool:
        """Whether the other is about the same samples with the same labels."""
        return (
            self.classes == other.classes
            and self.ids == other.ids
            and self.splits == other.splits
            and np.array_equal(self.labels, other.labels)
        )

    def per_class(self) -> list[tuple[str, float, float, float, int]]:
        """(class, precision, recall, F1, support) in class order; 0 where a class was never predicted or there."""
        confusion = self.confusion()
        hits, support, predicted = confusion.diagonal(), confusion.sum(1), confusion.sum(0)
        precision = hits / np.maximum(predicted, 1)
        recall = hits / np.maximum(support, 1)
        f1 = 2 * hits / np.maximum(support + predicted, 1)
        columns = (self.classes, precision.tolist(), recall.tolist(), f1.tolist(), support.tolist())
        return list(zip(*columns, strict=True))

    def confusion(self) -> NDArray[np.int64]:
        """Samples by true class (row) and predicted class (column): (C, C)."""
        size = len(self.classes)
        return np.bincount(self.labels * size + self.predicted, minlength=size * size).reshape(size, size)

    def worst(self, count: int) -> NDArray[np.int64]:
        """Positions of up to `count` mistakes, the one whose true class was the least probable first."""
        wrong = np.flatnonzero(self.predicted != self.labels)
        given = self.probabilities[wrong, self.labels[wrong]]
        return wrong[np.argsort(given, kind="stable")][:count]

    def save(self, path: Path) -> None:
        """Write row, id, split, group, label, predicted and one column `p_<class>` a class."""
        write_rows(path, [*COLUMNS, *(f"p_{name}" for name in self.classes)], self._lines())

    def _lines(self) -> Iterator[tuple[object, ...]]:
        for index, (label, predicted) in enumerate(zip(self.labels, self.predicted, strict=True)):
            group = self.groups[index] if self.groups else ""
            names = (self.classes[label], self.classes[predicted])
            numbers = (f"{value:.9g}" for value in self.probabilities[index])
            yield self.rows[index], self.ids[index], self.splits[index], group, *names, *numbers

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote. Raises ConfigError when there is no such file."""
        if not path.is_file():
            raise ConfigError(f"{path} does not exist: the strategy was not evaluated; run `dvc repro`")
        header, *lines = read_rows(path)
        width = len(COLUMNS)
        classes = tuple(name.removeprefix("p_") for name in header[width:])
        index = {name: position for position, name in enumerate(classes)}
        return cls(
            classes,
            np.array([int(line[0]) for line in lines], np.int64),
            tuple(line[1] for line in lines),
            tuple(line[2] for line in lines),
            np.array([index[line[4]] for line in lines], np.int64),
            np.array([line[width:] for line in lines], np.float32).astype(np.float64),
            groups=tuple(line[3] for line in lines),
        )
