"""From the scores of tokens back to the text of an answer, or to the finding that there is none. Numpy alone."""

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlpipe.preprocess.questions import Passage, Window

Floats = NDArray[np.float64]
SPARE = 4
"""Spans of a window that are looked at, for each that is wanted: some have the same text as another."""


@dataclass(frozen=True)
class Span:
    """A stretch of the context, as an answer."""

    text: str
    start: int
    """Its first character in the context."""
    end: int
    """The character after its last one."""
    score: float
    """Score of its first token as a start plus that of its last one as an end."""
    probability: float
    """Its share among all spans that may be an answer, and "no answer" if that is known."""


@dataclass(frozen=True)
class Answers:
    """What was found for one question."""

    best: tuple[Span, ...]
    """Different texts, the best first; none where the context has no token."""
    null: float
    """Score of "no answer": the first token's, in the window that believes in it least."""
    no_answer: float
    """Its probability; 0 where the model knows only questions that have an answer."""

    @property
    def margin(self) -> float:
        """How much better "no answer" scores than the best span."""
        return self.null - self.best[0].score if self.best else np.inf

    def said(self, threshold: float | None) -> Span | None:
        """The best span, or None for no answer: where the margin is above `threshold`; None = always answer."""
        if not self.best or (threshold is not None and self.margin > threshold):
            return None
        return self.best[0]


def decode(
    passage: Passage, scores: Sequence[NDArray[Any]], count: int, longest: int, nullable: bool = True
) -> Answers:
    """The best spans of a question's context over all its windows.

    A span has at most `longest` tokens, all of the context, and its score is that of the window that owns it
    (`Passage.owners`). Probabilities are a softmax over the scores of all such spans.

    Args:
        passage: The question as it was tokenized.
        scores: Of each window (2, L): each token as start and as end; padding may follow.
        count: How many answers are wanted.
        longest: Tokens of an answer at most.
        nullable: Whether the model knows questions without an answer.
    """
    owners = passage.owners(longest)
    found: list[tuple[float, int, int]] = []
    logs = [-np.inf]
    for number, (window, pair) in enumerate(zip(passage.windows, scores, strict=True)):
        table = _spans(owners, number, window, np.asarray(pair, np.float64))
        found += _highest(table, window.low, SPARE * count)
        logs.append(_log_sum(table.ravel()))
    null = min(float(np.float64(pair[0, 0]) + np.float64(pair[1, 0])) for pair in map(np.asarray, scores))
    total = _log_sum(np.array([*logs, null] if nullable else logs))
    best = _different(passage, sorted(found, key=lambda each: (-each[0], *each[1:])), count, total)
    return Answers(best, null, float(np.exp(null - total)) if nullable else 0.0)


def _spans(owners: NDArray[np.int32], number: int, window: Window, pair: Floats) -> Floats:
    """(tokens of the window, longest): score of the span from token t with k more; -inf for what is not taken here."""
    size, longest = window.high - window.low, owners.shape[1]
    start, end = pair[:, window.first : window.first + size]
    ends = np.concatenate([end, np.full(longest, -np.inf)])
    table: Floats = start[:, None] + np.lib.stride_tricks.sliding_window_view(ends, longest)[:size]
    table[owners[window.low : window.high] != number] = -np.inf
    return table


def _highest(table: Floats, low: int, count: int) -> Iterable[tuple[float, int, int]]:
    """(score, first token, last token) of the `count` best spans."""
    flat = table.ravel()
    order = np.argpartition(-flat, count)[:count] if count < len(flat) else np.arange(len(flat))
    for index in order[np.isfinite(flat[order])]:
        token, more = divmod(int(index), table.shape[1])
        yield float(flat[index]), low + token, low + token + more


def _different(
    passage: Passage, ranked: Iterable[tuple[float, int, int]], count: int, total: float
) -> tuple[Span, ...]:
    spans: dict[str, Span] = {}
    for score, first, last in ranked:
        start, end = int(passage.places[first, 0]), _whole_end(passage.context, int(passage.places[last, 1]))
        text = passage.context[start:end]
        start += len(text) - len(text.lstrip())
        text = text.strip()
        if text and text not in spans:
            spans[text] = Span(text, start, start + len(text), score, float(np.exp(score - total)))
        if len(spans) == count:
            break
    return tuple(spans.values())


def _whole_end(context: str, end: int) -> int:
    """`end`, moved behind the marks that belong to the character before it: tokenizers that drop accents stop short."""
    while end < len(context) and unicodedata.category(context[end]).startswith("M"):
        end += 1
    return end


def _log_sum(values: Floats) -> float:
    highest = float(values.max(initial=-np.inf))
    return highest + float(np.log(np.exp(values - highest).sum())) if np.isfinite(highest) else -np.inf
