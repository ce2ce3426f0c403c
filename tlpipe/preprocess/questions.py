"""A question and its context as windows of tokens that a network can take, with each token's place in the text."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from tlpipe.config import ConfigError
from tlpipe.preprocess.text import CHUNK, TokenPreprocess, load_tokenizer
from tlpipe.preprocess.windows import windows

Places = NDArray[np.int64]
START, END, FIRST = 1, 2, 4
"""Bits of a token's label: it is the answer's first token, its last, the row's first."""


@dataclass(frozen=True)
class Window:
    """The question, and the context's tokens `low` to `high` (exclusive) from position `first` of the row on."""

    ids: NDArray[np.int32]
    types: NDArray[np.uint8]
    first: int
    low: int
    high: int


@dataclass(frozen=True)
class Passage:
    """A question over its whole context."""

    context: str
    places: Places
    """(T, 2): first character of each of the context's tokens, and the one after its last."""
    windows: tuple[Window, ...]
    cut: bool
    """Whether the question was too long."""

    def owners(self, longest: int) -> NDArray[np.int32]:
        """(T, `longest`): the window from which the span of token t and k more is taken; -1 where no window holds it.

        Of those that hold it whole, the one with the most context on its poorer side, the first of equals: what
        surrounds a span decides its score. BERT asks this of the first token alone (`token_is_max_context` in
        google-research/bert: run_squad.py) and so loses spans that leave that token's window while another holds them.
        """
        best = np.full((len(self.places), longest), -1, np.int64)
        owners = np.full(best.shape, -1, np.int32)
        for number, window in enumerate(self.windows):
            inside = np.arange(window.high - window.low)
            after = inside[::-1, None] - np.arange(longest)
            around = np.minimum(inside[:, None], after)
            mine = slice(window.low, window.high)
            better = around > best[mine]
            best[mine][better] = around[better]
            owners[mine][better] = number
        return owners

    def tokens(self, start: int, text: str) -> tuple[int, int] | None:
        """First and last of the tokens that `text` at character `start` touches; None when it touches none."""
        touched = np.flatnonzero((self.places[:, 1] > start) & (self.places[:, 0] < start + len(text)))
        return (int(touched[0]), int(touched[-1])) if len(touched) else None

    def labels(self, span: tuple[int, int] | None) -> list[NDArray[np.int64]]:
        """For the tokens of each row: which are the span's first and last, in the rows that hold it whole.

        Elsewhere both are the row's first token, which so stands for "not in this window", and of a question without
        an answer (None) in all rows: the code of BERT does so, although its comment says that such windows are left
        out.
        """
        rows = []
        for window in self.windows:
            row = np.zeros(len(window.ids), np.int64)
            inside = span is not None and window.low <= span[0] and span[1] < window.high
            start, end = (window.first + token - window.low for token in span) if span and inside else (0, 0)
            row[0] |= FIRST
            row[start] |= START
            row[end] |= END
            rows.append(row)
        return rows


def commonest(answers: Sequence[tuple[int, str]]) -> tuple[int, str]:
    """Of several answers the one that is trained on: that of most annotators, the first of equals."""
    return Counter(answers).most_common(1)[0][0]


MAX_CHARACTERS = 100_000
"""Of a context, and of a question: about a hundred and fifty windows of a row of 384 tokens."""


class QuestionPreprocess(TokenPreprocess):
    """A question and its context; a context that is too long for one row is several windows, each with the question."""

    kind: Literal["questions"] = "questions"
    stride: Annotated[int, Field(ge=0, le=8192)] = 128
    """Tokens of the context that neighbouring windows share."""
    longest_question: Annotated[int, Field(ge=1, le=8192)] = 64
    """Tokens of a question that are kept."""
    longest_answer: Annotated[int, Field(ge=1, le=8192)] = 30
    """Tokens of an answer at most."""


class Questions:
    """Turns pairs of a question and a context into passages; equal pairs give equal ids wherever it runs."""

    def __init__(self, path: Path, preprocess: QuestionPreprocess) -> None:
        """Read the tokenizer.json at `path`.

        Raises:
            ConfigError: The longest question would leave the context less room than the stride needs.
        """
        self.fast = load_tokenizer(path)
        self.preprocess = preprocess
        longest = preprocess.longest_question
        room = preprocess.max_length - len(self.fast.encode("", "").ids) - longest
        if room <= preprocess.stride:
            raise ConfigError(
                f"rows of {preprocess.max_length} tokens (backbone.max_length) with questions of up to {longest} leave "
                f"{max(room, 0)} for the context, and its windows share {preprocess.stride}: give a greater "
                "max_length, a smaller task.longest_question or a smaller task.stride"
            )

    def __call__(self, pairs: Sequence[tuple[str, str]]) -> Iterator[Passage]:
        """The passage of each (question, context), in order."""
        for start in range(0, len(pairs), CHUNK):
            part = pairs[start : start + CHUNK]
            for (_, context), encoding in zip(part, self.fast.encode_batch(list(part)), strict=True):
                ids, types = np.asarray(encoding.ids, np.int32), np.asarray(encoding.type_ids, np.uint8)
                which = np.array([-1 if each is None else each for each in encoding.sequence_ids], np.int64)
                yield self._passage(context, ids, types, which, np.asarray(encoding.offsets, np.int64).reshape(-1, 2))

    def _passage(
        self, context: str, ids: NDArray[np.int32], types: NDArray[np.uint8], which: Places, places: Places
    ) -> Passage:
        inside = np.flatnonzero(which == 1)
        first = int(inside[0]) if len(inside) else len(ids)
        before, after = np.arange(first), np.arange(first + len(inside), len(ids))
        asked = np.flatnonzero(which == 0)
        before = np.setdiff1d(before, asked[self.preprocess.longest_question :])
        size = self.preprocess.max_length - len(before) - len(after)
        rows = []
        for low, high in windows(len(inside), size, self.preprocess.stride):
            kept = np.concatenate([before, first + np.arange(low, high), after])
            rows.append(Window(ids[kept], types[kept], len(before), low, high))
        return Passage(context, places[inside], tuple(rows), len(asked) > self.preprocess.longest_question)
