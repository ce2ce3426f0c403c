"""The gate for questions: from the same raw texts, tokenizer.json and onnxruntime must give the answers of torch."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from tlpipe.answer_metrics import THRESHOLD
from tlpipe.bundle import Case
from tlpipe.export.golden import Truth, token_sample
from tlpipe.export.onnx import LOGITS, Calibrated, text_graph
from tlpipe.export.parity import Agreed, Choice, Limits, Outputs, ParityError, columns_of, figures, session_of
from tlpipe.export.spec import Export
from tlpipe.export.text_parity import AWKWARD
from tlpipe.golden import GoldenSample
from tlpipe.preprocess.answers import Answers, decode
from tlpipe.preprocess.limits import SampleLimits
from tlpipe.preprocess.questions import MAX_CHARACTERS, QuestionPreprocess, Questions
from tlpipe.preprocess.text import TOKENIZER
from tlpipe.tasks.shared import text_export
from tlpipe.train.model import About, Classifier

Run = Callable[[NDArray[np.int64]], NDArray[np.float32]]
"""Rows (B, inputs, L) -> calibrated logits (B, L, 2)."""
CANDIDATES = 20
"""Spans of torch's that are looked through for one that ties with its best."""


@dataclass(frozen=True)
class HeldOutQuestions:
    """Questions with their contexts that the model has not seen, and the tokenizer that it was trained with."""

    raw: Sequence[tuple[str, str]]
    tokenizer: Path

    @cached_property
    def files(self) -> dict[str, Path]:
        """What a bundle needs besides the graph."""
        return {TOKENIZER: self.tokenizer}


@dataclass(frozen=True)
class Said:
    """What one side says to a question."""

    logits: NDArray[np.float32]
    """(T, 2) of the tokens of all its windows."""
    answers: Answers
    threshold: float | None

    @property
    def text(self) -> str:
        """The answer, empty where there is none."""
        span = self.answers.said(self.threshold)
        return "" if span is None else span.text

    @property
    def probabilities(self) -> list[float]:
        """Of the best span and of no answer."""
        return [*(span.probability for span in self.answers.best[:1]), self.answers.no_answer]


def compare(path: Path, model: Classifier, about: About, held: HeldOutQuestions, spec: Export) -> tuple[Case, ...]:
    """Every case's figures for the ONNX file `path`, with the tokenizer.json beside it; a row a call and several.

    `same` is the share of questions with the same answer. `awkward` asks odd questions about odd contexts, and about
    one that is several windows long.

    Raises:
        ParityError: When the file's labels are not the model's, its tokenizer counts other tokens, or there are no
            questions.
    """
    if not held.raw:
        raise ParityError(
            "there are no held-out questions to compare torch and onnxruntime on: the test split is empty"
        )
    preprocess = cast(QuestionPreprocess, about.preprocess)
    truth = Side(Questions(held.tokenizer, preprocess), _torch(model, about), about.fitted.get(THRESHOLD))
    found = Side(Questions(path.with_name(TOKENIZER), preprocess), _onnx(path, about), truth.threshold)
    together = " ".join(context for _, context in held.raw[:8])
    odd = [*((text, held.raw[0][1]) for text in AWKWARD), *((held.raw[0][0], text) for text in (*AWKWARD, together))]
    return tuple(
        _case(name, size, truth(pairs, size), found(pairs, size), spec)
        for name, pairs in (("raw", held.raw), ("awkward", odd))
        for size in (1, spec.batch)
    )


@dataclass(frozen=True)
class Side:
    """Torch or onnxruntime, each with its own copy of the tokenizer."""

    questions: Questions
    run: Run
    threshold: float | None

    def __call__(self, pairs: Sequence[tuple[str, str]], size: int) -> list[Said]:
        """What it says to each question, `size` rows a call."""
        passages = list(self.questions(pairs))
        rows = [(window.ids, window.types) for passage in passages for window in passage.windows]
        pad, longest = self.questions.preprocess.pad, self.questions.preprocess.longest_answer
        outputs = (self.run(pad(rows[start : start + size])) for start in range(0, len(rows), size))
        each = (row for output in outputs for row in output)
        said = []
        for passage in passages:
            logits = [next(each)[: len(window.ids)] for window in passage.windows]
            nullable = self.threshold is not None
            answers = decode(passage, [row.T for row in logits], CANDIDATES, longest, nullable)
            said.append(Said(np.concatenate(logits), answers, self.threshold))
        return said


def _torch(model: Classifier, about: About) -> Run:
    calibrated = Calibrated(model, about)

    @torch.no_grad()
    def run(rows: NDArray[np.int64]) -> NDArray[np.float32]:
        logits: NDArray[np.float32] = calibrated(torch.from_numpy(rows))[0].numpy()
        return logits

    return run


def _onnx(path: Path, about: About) -> Run:
    session, inputs = session_of(path), cast(QuestionPreprocess, about.preprocess).inputs
    columns = columns_of(session, path, about.labels)

    def run(rows: NDArray[np.int64]) -> NDArray[np.float32]:
        feeds = {name: np.ascontiguousarray(rows[:, at]) for at, name in enumerate(inputs)}
        logits: Any = session.run([LOGITS], feeds)[0]
        found: NDArray[np.float32] = logits[..., columns]
        return found

    return run


def _case(name: str, size: int, truth: Sequence[Said], found: Sequence[Said], spec: Export) -> Case:
    pairs, sides = list(zip(truth, found, strict=True)), (Outputs.together(truth), Outputs.together(found))
    tokens = [len(side.logits) for side in sides]
    if tokens[0] != tokens[1]:
        counts = " and ".join(f"{each:,}" for each in tokens)
        raise ParityError(f"{name} questions: the trained tokenizer and the bundle's make {counts} tokens of them")
    scale = max(1.0, float(np.abs(sides[0].logits).max(initial=0)))
    same = [one.text == other.text for one, other in pairs]
    tied = [not equal and _tied(*pair, spec.network_tolerance * scale) for equal, pair in zip(same, pairs, strict=True)]
    agreed = Agreed(len(pairs), float(np.mean(same)), float(np.mean(tied)))
    return figures(name, size, sides, agreed, Limits(spec.tolerance, spec.network_tolerance), spec.agreement)


def _tied(truth: Said, found: Said, tolerance: float) -> bool:
    """Whether torch puts what onnxruntime says within the tolerance, on each of two logits, of what it says itself."""
    if "" in (truth.text, found.text):
        return truth.threshold is not None and abs(truth.answers.margin - truth.threshold) <= 4 * tolerance
    scores = {span.text: span.score for span in truth.answers.best}
    return truth.answers.best[0].score - scores.get(found.text, -np.inf) <= 2 * tolerance


def limits(samples: HeldOutQuestions) -> SampleLimits:
    """What the training refused."""
    return SampleLimits(max_characters=MAX_CHARACTERS)


def held_out(choice: Choice) -> HeldOutQuestions:
    """The chosen questions with their contexts, read from the source again, and the tokenizer of the tokens."""
    names = dict.fromkeys(choice.packed.ids[row] for row in choice.rows)
    read = [json.loads(choice.source.read(name)) for name in names]
    return HeldOutQuestions([(each["question"], each["context"]) for each in read], choice.packed.folder / TOKENIZER)


def golden_samples(truth: Truth, about: About, samples: HeldOutQuestions, raw: Sequence[Any]) -> Iterator[GoldenSample]:
    """Golden samples of raw questions with their contexts."""
    preprocess: Any = about.preprocess
    for pair, passage in zip(raw, Questions(samples.tokenizer, preprocess)(list(raw)), strict=True):
        rows = [(window.ids, window.types) for window in passage.windows]
        yield token_sample(truth, dict(zip(("question", "context"), pair, strict=True)), rows)


graph = text_graph
inputs = text_export.inputs
