"""Words of which each is to be decided: split from raw text, tokenized, and cut into windows so that none is lost."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from tlpipe.preprocess.text import TokenPreprocess, load_tokenizer
from tlpipe.preprocess.windows import deciding, windows

SPLIT = re.compile(r"[@#]?\w+(?:[-.]\w+)*|\S")
"""Words of raw text: letters and digits with single dots and hyphens inside (`U.S`, `24-jarige`), mentions and hash
tags whole, and every other visible character alone. CoNLL files hold about these; where they cut clitics differs."""
MAX_CHARACTERS = 100_000
"""Of a sentence, or a text that is read as one."""
NOTHING = "?"
"""Is read in place of a word from which a tokenizer leaves nothing (a control character), so that it is decided too."""


class Span(NamedTuple):
    """Characters [start, end) of a text."""

    start: int
    end: int


class Window(NamedTuple):
    """One row of the network's input."""

    ids: NDArray[np.int32]
    types: NDArray[np.uint8]
    words: NDArray[np.int64]
    """(L,) index of the word whose first token this is and which is decided here; -1 for every other token."""


class WordPreprocess(TokenPreprocess):
    """The words of a sentence, joined by a space; a longer sentence than `max_length` tokens is several windows."""

    kind: Literal["words"] = "words"
    stride: Annotated[int, Field(ge=0, le=8192)] = 32
    """Tokens that consecutive windows of a long sentence share."""


def split_words(text: str) -> list[Span]:
    """Where the words of a raw text are, by `SPLIT`."""
    return [Span(*found.span()) for found in SPLIT.finditer(text)]


class WordTokenizer:
    """A tokenizer.json for words: equal words give equal windows wherever it runs."""

    def __init__(self, path: Path, preprocess: WordPreprocess) -> None:
        self.fast = load_tokenizer(path)
        self.preprocess = preprocess
        around = self.fast.encode(NOTHING)
        inside = np.flatnonzero(np.array(around.special_tokens_mask) == 0)
        ids = np.asarray(around.ids, np.int32)
        self.before, self.after = ids[: inside[0]], ids[inside[-1] + 1 :]
        self.size = preprocess.max_length - len(self.before) - len(self.after)
        """Tokens of words in a window."""
        windows(0, self.size, preprocess.stride)

    def windows(self, words: Sequence[str]) -> list[Window]:
        """The windows of a sentence. Its words are not empty, and hold something other than white space."""
        ids, first = self._tokens(list(words))
        ranges = windows(len(ids), self.size, self.preprocess.stride)
        decided = deciding(len(ids), ranges)
        return [self._window(ids, first, decided == number, *each) for number, each in enumerate(ranges)]

    def _tokens(self, words: list[str]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """Ids (T,), and for each the index of the word that begins with it, or -1."""
        encoding = self.fast.encode(" ".join(words), add_special_tokens=False)
        ends = np.cumsum([len(word) + 1 for word in words])
        offsets = np.asarray(encoding.offsets, np.int64).reshape(-1, 2)
        # by its last character: a token may begin with the space before its word
        owner = np.searchsorted(ends, offsets[:, 1] - 1, side="right")
        owner[offsets[:, 0] == offsets[:, 1]] = -1
        known, place = np.unique(owner, return_index=True)
        first = np.full(len(owner), -1, np.int64)
        first[place[known >= 0]] = known[known >= 0]
        lost = sorted(set(range(len(words))) - set(known.tolist()))
        if lost and any(words[index] != NOTHING for index in lost):
            return self._tokens([NOTHING if index in lost else word for index, word in enumerate(words)])
        return np.asarray(encoding.ids, np.int32), first

    def _window(
        self, ids: NDArray[np.int32], first: NDArray[np.int64], decided: NDArray[np.bool_], start: int, end: int
    ) -> Window:
        row = np.concatenate([self.before, ids[start:end], self.after])
        words = np.full(len(row), -1, np.int64)
        words[len(self.before) : len(self.before) + end - start] = np.where(decided, first, -1)[start:end]
        return Window(row, np.zeros(len(row), np.uint8), words)
