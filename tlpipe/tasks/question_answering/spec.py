"""The answer to a question is a stretch of its context, or there is none: SQuAD v1.1 and v2.0."""

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from tlpipe.answer_metrics import ANSWER_METRICS, THRESHOLD, Version, best_threshold, columns, score
from tlpipe.data.asked import Asked, asked, find, version_of
from tlpipe.data.packed import Packed
from tlpipe.data.targets import IGNORED
from tlpipe.preprocess.answers import Answers
from tlpipe.preprocess.questions import END, FIRST, START, QuestionPreprocess
from tlpipe.preprocess.windows import windows
from tlpipe.sums import measure_sums
from tlpipe.tasks.base import Blind, Scores, Task

SPECIAL = 3
"""Tokens that stand around and between a question and its context at least."""


class QuestionAnswering(Task):
    """Two scores a token, as the start and as the end of the answer (BERT, arXiv 1810.04805, sections 4.2 and 4.3).

    Each row, a window of the context after the question, is two choices among its tokens; the first token stands for
    "not here".
    """

    modality: ClassVar[Literal["image", "text"]] = "text"
    form: ClassVar[str] = "questions"
    max_length: ClassVar[int] = 384
    tokens: ClassVar[bool] = True
    views: ClassVar[bool] = False
    balances: ClassVar[tuple[str, ...]] = ("none",)
    metrics: ClassVar[tuple[str, ...]] = tuple(ANSWER_METRICS)
    monitors: ClassVar[tuple[str, ...]] = (*ANSWER_METRICS, "accuracy", "place_accuracy", "loss")
    tempered: ClassVar[frozenset[str]] = frozenset()
    outputs: ClassVar[tuple[str, ...]] = ("logits",)

    kind: Literal["question_answering"] = "question_answering"
    stride: Annotated[int, Field(ge=0, le=8192)] = 128
    """Tokens of a long context that its neighbouring windows share."""
    longest_question: Annotated[int, Field(ge=1, le=8192)] = 64
    """Tokens of a question; the rest of it is cut off."""
    longest_answer: Annotated[int, Field(ge=1, le=8192)] = 30
    """Tokens of an answer at most; longer ones are learnt from and never said."""

    def preprocess(self, given: Any) -> QuestionPreprocess:
        """Windows of contexts instead of whole texts. Raises ConfigError for a stride that leaves them no room."""
        windows(0, given.max_length - SPECIAL - self.longest_question, self.stride)
        own = self.model_dump(include={"stride", "longest_question", "longest_answer"})
        return QuestionPreprocess(**given.model_dump(exclude={"kind"}), **own)

    def head(self, feature_dim: int, outputs: int, dropout: float) -> nn.Sequential:
        """Dropout and one linear layer, for every token."""
        return nn.Sequential(nn.Dropout(dropout), nn.Linear(feature_dim, outputs))

    def targets(self, labels: Tensor, outputs: int) -> Tensor:
        """Labels (B, L), see `Passage.labels`."""
        return labels

    def count(self, targets: Tensor) -> int:
        """Choices: a start and an end for each row."""
        return 2 * len(targets)

    def loss(self, logits: Tensor, target: Tensor, smoothing: float, weights: Tensor | None) -> Tensor:
        """Cross-entropy over the positions of each row, the mean over starts and ends; padding is no position."""
        scores, right = choices(logits, target)
        likely = functional.log_softmax(scores, dim=1)
        exact = -likely.gather(1, right[:, None]).mean()
        if not smoothing:
            return exact
        there = torch.isfinite(scores)
        spread = -(likely.masked_fill(~there, 0).sum(1) / there.sum(1)).mean()
        return (1 - smoothing) * exact + smoothing * spread

    def marked(self, logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Of every token that is no padding: (T, 2) and (T,)."""
        length = min(logits.shape[1], labels.shape[1])
        known = labels[:, :length] != IGNORED
        return logits[:, :length][known], labels[:, :length][known]

    def likelihood(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Sum over starts and ends."""
        return functional.cross_entropy(*choices(*rows(logits, labels)), reduction="sum")

    def scores(self, logits: Tensor, labels: Tensor, packed: Packed) -> Scores:
        """Cross-entropy of the choices and the share of them that are right, window by window.

        `place_accuracy` is the share of windows with an answer only, the first token aside: 0 where there are none.
        """
        scores, right = choices(*rows(logits, labels))
        loss, accuracy = functional.cross_entropy(scores, right), (scores.argmax(1) == right).double().mean()
        held = right > 0
        placed = int((scores[held, 1:].argmax(1) + 1 == right[held]).sum()) if held.any() else 0
        place = placed / max(int(held.sum()), 1)
        return {"loss": float(loss), "accuracy": float(accuracy), "place_accuracy": place}

    def blind(self, labels: NDArray[np.int64]) -> Blind:
        """Always the first token (class 0), "not here"; or another one (class 1), without knowing which."""
        firsts = np.flatnonzero(labels & FIRST)
        others = np.diff([*firsts, len(labels)]) - 1
        places = np.stack([np.flatnonzero(labels & bit) - firsts for bit in (START, END)])
        elsewhere = (places > 0).astype(np.int64)
        nats = float((elsewhere * np.log(np.maximum(others, 1))).mean())
        return Blind(elsewhere.ravel(), nats, float(1 - elsewhere.mean()))

    def probabilities(self, logits: Tensor) -> Tensor:
        """Softmax over the positions of each row (B, L, 2), those of its padding too."""
        return logits.softmax(-2)

    def said(self, logits: Tensor) -> Tensor:
        """The scores themselves: what is said is decided over all windows of a question, by `decode`."""
        return logits

    def fitted(self, logits: Tensor, labels: Tensor, packed: Packed) -> dict[str, float]:
        """The threshold for "no answer" with the best F1 on the validation split; none where all have an answer."""
        questions, version = _validation(packed.folder, packed.fingerprint, packed.held)
        if version == "v1.1":
            return {}
        answers = find(packed, questions, logits.numpy(), nullable=True)
        return {THRESHOLD: _threshold(questions, answers, version)}

    def metric(self, name: str, logits: Tensor, labels: Tensor, packed: Packed) -> float | None:
        """Of the answers to all questions, with the threshold for "no answer" that is best for them."""
        questions, version = _validation(packed.folder, packed.fingerprint, packed.held)
        nullable = version == "v2.0"
        answers = find(packed, questions, logits.numpy(), nullable)
        threshold = _threshold(questions, answers, version) if nullable else None
        spans = [each.said(threshold) for each in answers]
        texts = ["" if span is None else span.text for span in spans]
        scored = score(texts, [each.answers for each in questions], version)
        return measure_sums(columns(scored), ANSWER_METRICS).get(name)


@lru_cache(maxsize=1)
def _validation(folder: Path, fingerprint: str, held: tuple[int, int] | None) -> tuple[list[Asked], Version]:
    """The questions of a view's validation split, which take seconds to tokenize, and their version; for all epochs."""
    packed = replace(Packed.open(folder), held=held)
    return asked(packed, "validation"), version_of(packed)


def _threshold(questions: Sequence[Asked], answers: Sequence[Answers], version: Version) -> float:
    always = [each.best[0].text for each in answers]
    scored = score(always, [each.answers for each in questions], version)
    return best_threshold(np.array([each.margin for each in answers]), scored)


def choices(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Scores (2 B, L) of the starts and ends of rows, -inf at padding, and the right positions (2 B,).

    Args:
        logits: (B, L, 2)
        labels: (B, L), IGNORED at padding.
    """
    length = min(logits.shape[1], labels.shape[1])
    logits, labels = logits[:, :length], labels[:, :length]
    known = (labels != IGNORED).unsqueeze(-1)
    bits = torch.tensor([START, END], device=labels.device)
    right = ((labels.unsqueeze(-1) & bits).bool() & known).int().argmax(1)
    scores = logits.masked_fill(~known, -torch.inf)
    return scores.transpose(1, 2).flatten(0, 1), right.flatten()


def rows(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Flat tokens (T, 2) and labels (T,) as rows again, (B, L, 2) and (B, L), padded with zeros and IGNORED."""
    starts = torch.nonzero(labels & FIRST).flatten()
    row = torch.cumsum((labels & FIRST).bool(), 0) - 1
    place = torch.arange(len(labels), device=labels.device) - starts[row]
    shape = (len(starts), int(place.max()) + 1)
    padded = logits.new_zeros((*shape, logits.shape[1]))
    padded[row, place] = logits
    marks = labels.new_full(shape, IGNORED)
    marks[row, place] = labels
    return padded, marks
