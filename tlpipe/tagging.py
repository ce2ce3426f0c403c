"""From a raw text to rows of tokens, and from what a network says of them to entities: the same wherever it runs."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlpipe.entities import entities
from tlpipe.preprocess.words import Span, Window, WordPreprocess, WordTokenizer, split_words

Scores = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Sentence:
    """A text whose words are to be tagged."""

    text: str
    spans: tuple[Span, ...]
    """Of the words in the text."""
    windows: tuple[Window, ...]
    """What the network reads; one at least."""


class Tagger:
    """The tokenizer of a bundle, and the names of its outputs."""

    def __init__(self, tokenizer: Path, preprocess: WordPreprocess, labels: Sequence[str]) -> None:
        self.tokenizer = WordTokenizer(tokenizer, preprocess)
        self.labels = tuple(labels)

    def read(self, text: str | Sequence[str]) -> Sentence:
        """A raw text, split into words by `split_words`; or words, whose text they are with a space between them."""
        if isinstance(text, str):
            spans = split_words(text)
        else:
            ends = np.cumsum([len(word) + 1 for word in text]) - 1
            spans = [Span(int(end) - len(word), int(end)) for word, end in zip(text, ends, strict=True)]
            text = " ".join(text)
        words = [text[start:end] for start, end in spans]
        return Sentence(text, tuple(spans), tuple(self.tokenizer.windows(words)))

    def entities(self, sentence: Sentence, probabilities: Sequence[Scores]) -> list[dict[str, Any]]:
        """What the probabilities (L, C) of each window's tokens say: `type`, `text`, `start`, `end`, `score`.

        `start` and `end` count characters of the text; `score` is the mean probability of the words' tags. The
        reading of the tags is that of seqeval's default mode.
        """
        chosen = self.words(sentence, probabilities)
        best = chosen.argmax(axis=1) if len(chosen) else np.zeros(0, np.int64)
        found = []
        for kind, first, last in entities([self.labels[tag] for tag in best]):
            start, end = sentence.spans[first].start, sentence.spans[last - 1].end
            score = float(chosen[np.arange(first, last), best[first:last]].mean())
            place = {"start": start, "end": end, "score": round(score, 6)}
            found.append({"type": kind, "text": sentence.text[start:end], **place})
        return found

    def words(self, sentence: Sentence, probabilities: Sequence[Scores]) -> Scores:
        """(W, C) of each word, from the window that decides it."""
        table = np.zeros((len(sentence.spans), len(self.labels)))
        for window, each in zip(sentence.windows, probabilities, strict=True):
            decided = window.words >= 0
            table[window.words[decided]] = each[: len(window.words)][decided]
        return table
