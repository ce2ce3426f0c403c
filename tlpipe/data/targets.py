"""What packed samples are labelled with: one label a row, or a label for some of its tokens."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tlpipe.preprocess.text import even

Rows = NDArray[np.int64] | list[int]
IGNORED = -100
"""The label of a token that has none: of padding, special tokens, and all that is not to be decided."""


class Targets(Protocol):
    """A *mark* is what has a label and an output of its own: a row, or one token of it. Marks come in row order."""

    @property
    def marks(self) -> NDArray[np.int64]:
        """Labels (M,) of all marks."""

    def batch(self, rows: Rows) -> NDArray[np.int64]:
        """What the loss is told of these rows: (B,), or (B, L) padded with IGNORED like the rows themselves."""

    def range(self, low: int, high: int) -> tuple[int, int]:
        """Which marks are of rows `low` to `high`, as [first, last)."""

    def count(self, rows: Rows) -> int:
        """Marks of these rows, a row that comes twice counted twice."""

    def row(self, low: int, high: int) -> NDArray[np.int64]:
        """(m,) the row of each mark of rows `low` to `high`."""

    def select(self, rows: Rows, values: NDArray[Any]) -> NDArray[Any]:
        """(m, …) what belongs to the marks, of `values` (B, …) or (B, L, …) that belong to these rows."""


@dataclass(frozen=True)
class RowLabels:
    """One label a row."""

    values: NDArray[np.int64]
    """(N,)"""

    @property
    def marks(self) -> NDArray[np.int64]:
        """The labels themselves."""
        return self.values

    def batch(self, rows: Rows) -> NDArray[np.int64]:
        """Labels (B,)."""
        return np.asarray(self.values[rows])

    def range(self, low: int, high: int) -> tuple[int, int]:
        """The rows themselves."""
        return low, high

    def count(self, rows: Rows) -> int:
        """How many there are."""
        return len(rows)

    def row(self, low: int, high: int) -> NDArray[np.int64]:
        """The rows themselves."""
        return np.arange(low, high, dtype=np.int64)

    def select(self, rows: Rows, values: NDArray[Any]) -> NDArray[Any]:
        """All."""
        return values


@dataclass(frozen=True)
class TokenLabels:
    """A label for some tokens of each row."""

    values: NDArray[np.int64]
    """(T,), aligned with the tokens of all rows; IGNORED where there is none."""
    offsets: NDArray[np.int64]
    """(N + 1,), of the rows' tokens."""
    most: int
    """Tokens of a row that the network takes."""

    @cached_property
    def _starts(self) -> NDArray[np.int64]:
        """(N + 1,) marks before each row."""
        before = np.concatenate([[0], np.cumsum(self.values != IGNORED)])
        return np.asarray(before[self.offsets], np.int64)

    @cached_property
    def marks(self) -> NDArray[np.int64]:
        """Labels of the tokens that have one."""
        return np.asarray(self.values[self.values != IGNORED])

    def batch(self, rows: Rows) -> NDArray[np.int64]:
        """(B, L), L as `Tokens` has it."""
        lengths = self.offsets[np.add(rows, 1)] - self.offsets[rows]
        padded = np.full((len(rows), even(int(lengths.max()), self.most)), IGNORED, np.int64)
        for line, row, length in zip(padded, rows, lengths, strict=True):
            line[:length] = self.values[self.offsets[row] : self.offsets[row] + length]
        return padded

    def range(self, low: int, high: int) -> tuple[int, int]:
        """Their tokens with a label."""
        return int(self._starts[low]), int(self._starts[high])

    def count(self, rows: Rows) -> int:
        """Their tokens with a label."""
        at = np.asarray(rows, np.int64)
        return int((self._starts[at + 1] - self._starts[at]).sum())

    def row(self, low: int, high: int) -> NDArray[np.int64]:
        """Each row as often as it has labels."""
        return np.repeat(np.arange(low, high, dtype=np.int64), np.diff(self._starts[low : high + 1]))

    def select(self, rows: Rows, values: NDArray[Any]) -> NDArray[Any]:
        """Those of the tokens with a label."""
        return np.asarray(values[self.batch(rows) != IGNORED])


@dataclass(frozen=True)
class SpanLabels(TokenLabels):
    """A label for every token, of which a row makes two choices: of a span's first token and of its last."""

    def count(self, rows: Rows) -> int:
        """Choices, of which losses are means."""
        return 2 * len(rows)


def row_labels(labels: NDArray[np.int64], samples: Any) -> Targets:
    """One label a row, of labels (N,)."""
    return RowLabels(labels)


def token_labels(labels: NDArray[np.int64], samples: Any) -> Targets:
    """A label for some tokens of each row, of labels (T,) aligned with the tokens of `samples`."""
    return TokenLabels(labels, samples.offsets, samples.preprocess.max_length)


def span_labels(labels: NDArray[np.int64], samples: Any) -> Targets:
    """The first and last token of a span in each row, of labels (T,) aligned with the tokens of `samples`."""
    return SpanLabels(labels, samples.offsets, samples.preprocess.max_length)
