"""Serving of question answering: a question and a context in, the answer out as a stretch of the context."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from tlpipe.bundle import Bundle
from tlpipe.preprocess.answers import Span, decode
from tlpipe.preprocess.characters import UnreadableText, require
from tlpipe.preprocess.questions import Passage, QuestionPreprocess, Questions
from tlpipe.preprocess.text import TOKENIZER
from tlpipe.serve.http.request_body import parse_json
from tlpipe.serve.reading import (
    Answer,
    BadInput,
    Place,
    Probability,
    Reading,
    Row,
    Sample,
    Sent,
    Spend,
    bad_text,
    read_bytes,
)  # fmt: skip
from tlpipe.tasks.shared.text_serving import MOST_BYTES, check_tokens, padded_length

NEEDED = 'send {"question": ..., "context": ...}, two texts'
COLUMNS = ("answer", "start", "end", "score", "no_answer_probability")


class QuestionRequest(BaseModel):
    """A question, and the context in which its answer is looked for."""

    model_config = ConfigDict(extra="forbid", strict=True)

    question: Sent
    context: Sent


class SpanAnswer(BaseModel):
    """A stretch of the context."""

    text: str
    start: Place
    end: Place
    probability: Probability


class QuestionAnswer(BaseModel):
    """The answer, empty where there is none, and the best stretches."""

    answer: str
    start: Place | None
    end: Place | None
    score: Probability | None
    no_answer_probability: Probability | None
    n_best: list[SpanAnswer]


class QuestionAnswers:
    """Long contexts are several rows of the graph, and one answer."""

    media: ClassVar[tuple[str, ...]] = ("application/json",)
    summary: ClassVar[str] = "Answers to questions, as stretches of their contexts"
    bodies: ClassVar[Mapping[str, Any]] = {"application/json": QuestionRequest}
    tokens: ClassVar[bool] = True
    needs: ClassVar[str | None] = TOKENIZER
    endings: ClassVar[frozenset[str]] = frozenset((".json", ".jsonl"))
    together: ClassVar[int] = 8
    cells_in: ClassVar[tuple[str, ...]] = ("question", "context")

    def __init__(self, bundle: Bundle, folder: Path, max_pixels: int | None = None) -> None:
        self.limits = bundle.limits
        self.preprocess = cast(QuestionPreprocess, bundle.preprocessing)  # of every bundle of this task
        self.questions = Questions(folder / TOKENIZER, self.preprocess)
        self.threshold = bundle.fitted.get("no_answer_threshold")

    def decode(self, raw: bytes, media: str = "application/json", spend: Spend | None = None) -> Sample:
        """{"question": ..., "context": ...}, or a list of the two."""
        return self._windows(parse_json(raw, 2 * MOST_BYTES))

    def load(self, item: Any) -> Sample:
        """A mapping, a pair (question, context), or the bytes or the path of a JSON file with either."""
        if isinstance(item, Path):
            item = read_bytes(item)
        if isinstance(item, bytes | bytearray | memoryview):
            return self.decode(bytes(item))
        return self._windows(item)

    def _windows(self, found: Any) -> Sample:
        pair = _pair(found)
        for name, text in zip(("question", "context"), pair, strict=True):
            try:
                require(text, self.limits.max_characters)
            except UnreadableText as error:
                refused = bad_text(error)
                raise BadInput(f"{name}: {refused}", refused.status) from None
        passage = next(self.questions([pair]))
        length = padded_length(max(len(window.ids) for window in passage.windows), self.preprocess)
        batch = self.preprocess.pad([(window.ids, window.types) for window in passage.windows], length)
        rows = tuple(dict(zip(self.preprocess.inputs, row, strict=True)) for row in batch)
        return Sample(rows, passage)

    def check(self, feeds: Row) -> None:
        """Refuse tokens that the network has no row for, and rows that are longer than it knows places."""
        check_tokens(feeds, self.preprocess, self.vocabulary)

    def answer(self, sample: Sample, outputs: Sequence[Row], top: int = 5) -> Answer:
        """The answer with its place in the context, empty where there is none, and the `top` best spans.

        `score` is the probability of what is said. `start` and `end` count characters (Unicode code points) of the
        context, as SQuAD does, and are null where there is no answer; `no_answer_probability` is null of a model that
        learnt only from questions that have one.
        """
        passage: Passage = sample.about
        scores = [np.asarray(row["logits"]).T for row in outputs]
        nullable = self.threshold is not None
        found = decode(passage, scores, max(top, 1), self.preprocess.longest_answer, nullable)
        said = found.said(self.threshold)
        none = round(found.no_answer, 6) if nullable else None
        return {
            "answer": "" if said is None else said.text,
            "start": None if said is None else said.start,
            "end": None if said is None else said.end,
            "score": round(said.probability, 6) if said is not None else none,
            "no_answer_probability": none,
            "n_best": [_span(span) for span in found.best[:top]],
        }

    def answer_model(self) -> type[BaseModel]:
        """`QuestionAnswer`."""
        return QuestionAnswer

    @property
    def vocabulary(self) -> int:
        """Tokens that the tokenizer knows."""
        return self.questions.fast.get_vocab_size()

    def example(self) -> Sample:
        """A question about a word."""
        return self._windows(("example", "example"))

    def columns(self, every: bool = False) -> tuple[str, ...]:
        """The answer's keys but for the other spans."""
        return COLUMNS

    def cells(self, answer: Answer) -> Sequence[Any]:
        """Their values; empty where there is none."""
        return ["" if answer[name] is None else answer[name] for name in COLUMNS]


def _span(span: Span) -> dict[str, Any]:
    return {"text": span.text, "start": span.start, "end": span.end, "probability": round(span.probability, 6)}


def _pair(found: Any) -> tuple[str, str]:
    """The question and the context. Raises BadInput for anything else."""
    if isinstance(found, Mapping):
        try:
            request = QuestionRequest.model_validate(dict(found))
        except ValidationError as error:
            raise _refused(error) from None
        found = [request.question, request.context]
    if isinstance(found, str) or not isinstance(found, Sequence) or len(found) != 2:
        raise BadInput(f"got {type(found).__name__} that is no question with a context; {NEEDED}")
    question, context = found
    if not (isinstance(question, str) and isinstance(context, str)):
        raise BadInput(f"the question and the context must be texts; {NEEDED}")
    if not (question.strip() and context.strip()):
        raise BadInput(f"the {'context' if question.strip() else 'question'} is empty; {NEEDED}")
    return question, context


def _refused(error: ValidationError) -> BadInput:
    """The refusal of an object that is no `QuestionRequest`."""
    for each in error.errors(include_input=False, include_url=False):
        if each["type"] in ("extra_forbidden", "invalid_key"):
            return BadInput(f"unknown key {str(each['loc'][0])[:80]!r}; {NEEDED}")
    return BadInput(f"the question and the context must be texts; {NEEDED}")


READINGS: dict[str, type[Reading]] = {"questions": QuestionAnswers}
