"""The contract of a kind of data: how its raw samples are read, compared and written as arrays."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from tlpipe.data.base import Sample, Track
from tlpipe.data.duplicates import Rejected
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


class Reader(Protocol):
    """Everything that is known after the samples were read once; numbers are indices of the source's samples."""

    @property
    def rejected(self) -> Mapping[int, Rejected]:
        """What could not be read, and why."""

    @property
    def content(self) -> Mapping[int, bytes]:
        """A hash of what each readable sample holds, whatever its encoding: equal for exact copies."""

    @property
    def columns(self) -> tuple[str, ...]:
        """What the manifest says of a sample besides its label and place; the first is `sha256`, of the raw bytes."""

    def near(self, among: set[int], threshold: float) -> Pairs:
        """{(i, j): similarity}, i < j, of the near duplicates `among` the samples."""

    def place(self, index: int) -> int:
        """Where the sample belongs within its split: the smaller, the earlier."""

    def describe(self, index: int) -> tuple[object, ...]:
        """Values of `columns`."""

    def write(self, folder: Path, rows: Sequence[int]) -> None:
        """Write the arrays that `Packed.open` maps, a row for each of `rows`; called once, at the end."""

    def report(self, rows: Sequence[int]) -> dict[str, Any]:
        """What reports/data.json says about the raw samples that are used."""
