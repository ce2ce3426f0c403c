from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.preprocess.conftest import CONTEXT
from tlpipe.preprocess.answers import Answers, decode
from tlpipe.preprocess.questions import Passage, QuestionPreprocess, Questions


def passage(tokenizer: Path, context: str = CONTEXT, stride: int = 4) -> Passage:
    preprocess = QuestionPreprocess(max_length=24, stride=stride, longest_question=12)
    return next(Questions(tokenizer, preprocess)([("Who lives where?", context)]))


def noise(found: Passage, seed: int = 0, spare: int = 3) -> list[NDArray[np.float64]]:
    generator = np.random.default_rng(seed)
    return [generator.normal(size=(2, len(window.ids) + spare)) * 3 for window in found.windows]


def scored(found: Passage, first: int, last: int, height: float = 30.0) -> list[NDArray[np.float64]]:
    """Nothing but the span, in every window that holds one of its ends."""
    scores = [np.zeros((2, len(window.ids))) for window in found.windows]
    for pair, window in zip(scores, found.windows, strict=True):
        for row, token in enumerate((first, last)):
            if window.low <= token < window.high:
                pair[row, window.first + token - window.low] = height
    return scores


def by_hand(found: Passage, scores: list[NDArray[np.float64]], longest: int) -> dict[tuple[int, int], float]:
    """Every legal span of tokens with its score."""
    spans, owners = {}, found.owners(longest)
    for number, (window, pair) in enumerate(zip(found.windows, scores, strict=True)):
        for first in range(window.low, window.high):
            for last in range(first, min(first + longest, window.high)):
                if owners[first, last - first] == number:
                    at = window.first - window.low
                    spans[first, last] = pair[0, at + first] + pair[1, at + last]
    return spans


@pytest.mark.parametrize("seed", range(8))
def test_the_best_of_all_legal_spans(tokenizer: Path, seed: int):
    found = passage(tokenizer)
    scores = noise(found, seed)
    spans = by_hand(found, scores, 5)
    answers = decode(found, scores, 6, 5)
    ranked = sorted(spans, key=lambda span: (-spans[span], span))
    texts: dict[str, float] = {}
    for first, last in ranked:
        texts.setdefault(CONTEXT[found.places[first, 0] : found.places[last, 1]], spans[first, last])
    assert [(span.text, span.score) for span in answers.best] == list(texts.items())[:6]
    null = min(pair[0, 0] + pair[1, 0] for pair in scores)
    total = sum(np.exp(value) for value in spans.values()) + np.exp(null)
    assert answers.null == null
    assert answers.no_answer == pytest.approx(np.exp(null) / total)
    assert answers.best[0].probability == pytest.approx(np.exp(answers.best[0].score) / total)
    assert answers.margin == null - answers.best[0].score


@pytest.mark.parametrize("text", ["Zoë", "Tōkyō", "New York", "naïve 🙂", "says: “the", "1,000 km”", "on."])
def test_answers_are_cut_from_the_original_text(tokenizer: Path, text: str):
    found = passage(tokenizer, stride=8)  # no answer here is longer, so that each is whole in some window
    start = CONTEXT.rindex(text)
    span = found.tokens(start, text)
    assert span is not None
    best = decode(found, scored(found, *span), 3, 30).best[0]
    assert (best.text, best.start, best.end) == (text, start, start + len(text))
    assert CONTEXT[best.start : best.end] == text


def test_an_end_before_its_start_is_no_answer(tokenizer: Path):
    found = passage(tokenizer)
    best = decode(found, scored(found, 6, 2), 3, 30).best[0]
    assert best.score == 30


def test_nothing_but_the_context_answers(tokenizer: Path):
    found = passage(tokenizer)
    scores = noise(found)
    expected = decode(found, scores, 3, 5).best
    for pair, window in zip(scores, found.windows, strict=True):
        pair[:, 1 : window.first] = 99
        pair[:, window.first + window.high - window.low :] = 99
    assert decode(found, scores, 3, 5).best == expected


def test_a_model_that_always_answers_has_no_probability_of_none(tokenizer: Path):
    found = passage(tokenizer)
    answers = decode(found, noise(found), 10_000, 3, nullable=False)
    assert answers.no_answer == 0
    spans = by_hand(found, noise(found), 3)
    total = sum(np.exp(value) for value in spans.values())
    assert answers.best[0].probability == pytest.approx(np.exp(answers.best[0].score) / total)


def test_no_answer_is_said_above_the_threshold(tokenizer: Path):
    found = passage(tokenizer)
    answers = decode(found, noise(found), 3, 5)
    assert answers.said(None) == answers.said(answers.margin) == answers.best[0]
    assert answers.said(answers.margin - 1e-6) is None


def test_a_context_without_tokens_has_no_answer(tokenizer: Path):
    found = passage(tokenizer, "")
    answers = decode(found, noise(found), 3, 5)
    assert (answers.best, answers.said(None)) == ((), None)
    assert answers.no_answer == pytest.approx(1)
    assert decode(found, noise(found), 3, 5, nullable=False) == Answers((), answers.null, 0.0)


def test_equal_texts_are_one_answer_with_the_place_of_the_better(tokenizer: Path):
    found = passage(tokenizer)
    early, late = (found.tokens(at, "lives") for at in (CONTEXT.index("lives"), CONTEXT.rindex("lives")))
    assert early is not None
    assert late is not None
    scores = [a + b for a, b in zip(scored(found, *early, 30), scored(found, *late, 31), strict=True)]
    answers = decode(found, scores, 5, 10)
    assert (answers.best[0].text, answers.best[0].start) == ("lives", CONTEXT.rindex("lives"))
    assert len({span.text for span in answers.best}) == len(answers.best) == 5


def test_an_answer_keeps_the_marks_of_its_last_character(tokenizer: Path):
    found = passage(tokenizer, "She lives in a cafe\u0301 \u0928\u092e now")
    span = found.tokens(15, "cafe")
    assert span is not None
    answers = decode(found, scored(found, *span, 30), 1, 5)
    assert (answers.best[0].text, answers.best[0].start, answers.best[0].end) == ("cafe\u0301", 15, 20)
