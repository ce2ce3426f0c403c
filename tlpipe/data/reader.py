"""The contract of a kind of data: how its raw samples are read, compared and written as arrays."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tlpipe.data.base import Sample, Track
from tlpipe.data.duplicates import Rejected
from tlpipe.data.packed import Split
from tlpipe.data.spec import Data

Pairs = dict[tuple[int, int], float]


@dataclass(frozen=True)
class Intake:
    """What a reader needs to know."""

    data: Data
    preprocess: Any
    """Of the reader's kind."""
    samples: Sequence[Sample]
    folder: Path
    """Where the arrays will be, and where scratch files may be until then."""
    track: Track
    workers: int | None
    """Processes; None = one a core."""
    tokenizer: Path | None
    """Folder that the tokenizer stage wrote."""
    cache: Path | None = None
    """Folder of what the last run read, for readers that take from it; None = all is read."""
    code: str = ""
    """Hash of the code that packs; another one takes nothing from the cache."""


class Reader(Protocol):
    """Everything that is known after the samples were read once; numbers are indices of the source's samples."""

    @property
    def rejected(self) -> Mapping[int, Rejected]:
        """What could not be read, and why."""

    @property
    def content(self) -> Mapping[int, bytes]:
        """A hash of what each readable sample holds, whatever its encoding: equal for exact copies."""

    def truth(self, index: int) -> str:
        """What the sample is labelled with, spelled out: copies that differ in it contradict each other."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the network's outputs, in order."""

    @property
    def columns(self) -> tuple[str, ...]:
        """What the manifest says of a sample besides its label and place; the first is `sha256`, of the raw bytes."""

    def near(self, among: set[int], threshold: float) -> Pairs:
        """{(i, j): similarity}, i < j, of the near duplicates `among` the samples."""

    def place(self, index: int) -> int:
        """Where the sample belongs within its split: the smaller, the earlier."""

    def describe(self, index: int) -> tuple[object, ...]:
        """Values of `columns`."""

    def parts(self, index: int) -> int:
        """How many rows of the arrays the sample is."""

    def labels(self, samples: Sequence[int]) -> NDArray[np.int64]:
        """What `labels.npy` is to hold of these samples, in order: see `Packed`."""

    def write(self, folder: Path, samples: Sequence[int]) -> None:
        """Write the arrays that `Packed.open` maps, the rows of each of `samples`; called once, at the end."""

    def report(self, samples: Mapping[int, Split]) -> dict[str, Any]:
        """What reports/data.json says about the raw samples that are used, and in which split they are."""


class OneLabel:
    """What the readers of samples with one label, and one row, each share."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        self._names = [sample.label for sample in samples]
        self.classes = tuple(sorted(set(self._names)))

    def truth(self, index: int) -> str:
        """Its class."""
        return self._names[index]

    def parts(self, index: int) -> int:
        """One row."""
        return 1

    def labels(self, samples: Sequence[int]) -> NDArray[np.int64]:
        """Numbers of their classes (N,)."""
        return np.array([self.classes.index(self._names[index]) for index in samples], np.int64)
