"""N-grams of words and characters, counted from a text: the input of a TF-IDF model. No torch and no sklearn here."""

import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from tlpipe.config import ConfigError, Spec
from tlpipe.preprocess.text import Text

VOCABULARY = "ngrams.json"
"""Beside a model: {"words": [...], "characters": [...]}; the id of an n-gram is its place, words first."""
IDS, COUNTS = "ngram_ids", "ngram_counts"
Length = Annotated[int, Field(ge=1, le=8)]
WORD = re.compile(r"\b\w+\b")


class NgramPreprocess(Spec):
    """Shortest and longest n-grams: of words, and of the characters within a word and the space around it."""

    kind: Literal["ngrams"] = "ngrams"
    words: tuple[Length, Length] = (1, 2)
    characters: tuple[Length, Length] = (2, 5)

    @model_validator(mode="after")
    def _ascending(self) -> "NgramPreprocess":
        for name, (shortest, longest) in (("words", self.words), ("characters", self.characters)):
            if shortest > longest:
                raise ValueError(f"{name} is [{shortest}, {longest}]; give the shorter length first")
        return self

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the rows of an input: distinct n-grams, and how often each of them is there (0 = padding)."""
        return IDS, COUNTS

    def example(self) -> NDArray[np.int64]:
        """One input: the n-gram 0, once."""
        return np.array([[[0], [1]]], np.int64)

    def inside(self) -> str:
        """What the exported graph does before the classifier, for people."""
        return "TF-IDF weights of the counts"

    def batch(self, ngrams: NDArray[np.int64]) -> NDArray[np.int64]:
        """Texts become n-grams by `Ngrams`; (N, 2, L) are what the model takes."""
        return ngrams

    def split(self, text: Text) -> tuple[Counter[str], Counter[str]]:
        """Counts of the n-grams of words and of characters; of a pair of texts, the two are one."""
        lowered = " ".join(text).lower()
        return Counter(_words(lowered, *self.words)), Counter(_characters(lowered, *self.characters))


def _words(text: str, shortest: int, longest: int) -> Iterable[str]:
    """N-grams of words, one-letter words too, in the order of scikit-learn's `TfidfVectorizer`."""
    words = WORD.findall(text)
    for size in range(shortest, longest + 1):
        for start in range(len(words) - size + 1):
            yield " ".join(words[start : start + size])


def _characters(text: str, shortest: int, longest: int) -> Iterable[str]:
    """N-grams of characters as its `analyzer="char_wb"` has them: a word shorter than the n-gram counts once."""
    for word in text.split():
        padded = f" {word} "
        for size in range(shortest, longest + 1):
            for start in range(max(1, len(padded) - size + 1)):
                yield padded[start : start + size]
            if len(padded) <= size:
                break


class Counted(NamedTuple):
    """The known n-grams of a text."""

    ids: NDArray[np.int64]
    """(L,) ascending"""
    counts: NDArray[np.int64]
    """(L,)"""


class Ngrams:
    """A vocabulary on disk: equal texts give equal counts wherever it runs."""

    def __init__(self, path: Path, preprocess: NgramPreprocess) -> None:
        """Raises ConfigError when the file cannot be read."""
        self.preprocess = preprocess
        names = read_vocabulary(path)
        starts = np.cumsum([0, *map(len, names)])
        self.tables = [{name: start + at for at, name in enumerate(part)}
                       for part, start in zip(names, starts.tolist(), strict=False)]  # fmt: skip
        self.size = int(starts[-1])

    def count(self, text: Text) -> Counted:
        """Of one text, or a pair."""
        known = [
            (table[name], count)
            for table, counts in zip(self.tables, self.preprocess.split(text), strict=True)
            for name, count in counts.items()
            if name in table
        ]
        ids, counts = np.array(sorted(known), np.int64).reshape(-1, 2).T
        return Counted(ids, counts)

    def __call__(self, texts: Sequence[Text]) -> dict[str, NDArray[np.int64]]:
        """Raw texts or pairs -> {input name: (B, L) int64}: what the exported graph takes."""
        batch = pad([self.count(text) for text in texts])
        return {name: np.ascontiguousarray(batch[:, at]) for at, name in enumerate(self.preprocess.inputs)}


def pad(rows: Sequence[Counted], multiple: int = 1) -> NDArray[np.int64]:
    """(B, 2, L): ids above counts, L at least 1 and a multiple of `multiple`; padding is the n-gram 0, no times."""
    longest = max(1, *(len(row.ids) for row in rows))
    batch = np.zeros((len(rows), 2, -(-longest // multiple) * multiple), np.int64)
    for line, row in zip(batch, rows, strict=True):
        line[:, : len(row.ids)] = row
    return batch


def write_vocabulary(path: Path, words: Sequence[str], characters: Sequence[str]) -> None:
    """Write the n-grams, in the order of their ids."""
    content = {"words": list(words), "characters": list(characters)}
    path.write_text(json.dumps(content, ensure_ascii=False) + "\n", encoding="utf-8")


def read_vocabulary(path: Path) -> tuple[list[str], list[str]]:
    """What `write_vocabulary` wrote. Raises ConfigError when there is no such file, or it says something else."""
    if not path.is_file():
        raise ConfigError(f"{path} does not exist; the finetune stage of the TF-IDF strategy writes it")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return list(content["words"]), list(content["characters"])
    except (ValueError, KeyError, TypeError):
        raise ConfigError(f"{path} is not a vocabulary of n-grams; train and export the strategy again") from None
