from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer as Fast

from tests.preprocess.conftest import CONTEXT
from tlpipe.config import ConfigError
from tlpipe.preprocess.questions import END, FIRST, START, Passage, QuestionPreprocess, Questions, commonest

QUESTION = "Who lives where?"


def passage(tokenizer: Path, question: str = QUESTION, context: str = CONTEXT, **fields: int) -> Passage:
    preprocess = QuestionPreprocess(**{"max_length": 24, "stride": 4, "longest_question": 12, **fields})
    return next(Questions(tokenizer, preprocess)([(question, context)]))


def test_every_row_is_the_question_and_a_window_of_the_context(tokenizer: Path):
    found = passage(tokenizer)
    whole = Fast.from_file(str(tokenizer)).encode(QUESTION, CONTEXT)
    context = [token for token, which in zip(whole.ids, whole.sequence_ids, strict=True) if which == 1]
    asked = [token for token, which in zip(whole.ids, whole.sequence_ids, strict=True) if which == 0]
    sep = whole.ids[-1]
    assert len(found.windows) > 3
    assert len(found.places) == len(context)
    for window in found.windows:
        middle = context[window.low : window.high]
        assert window.ids.tolist() == [whole.ids[0], *asked, sep, *middle, sep]
        assert window.types.tolist() == [0] * (len(asked) + 2) + [1] * (len(middle) + 1)
        assert window.ids[window.first] == context[window.low]
        assert len(window.ids) <= 24
    assert {before.high - after.low for before, after in zip(found.windows[:-2], found.windows[1:-1], strict=True)} == {
        4
    }


def test_places_are_those_of_the_original_text(tokenizer: Path):
    found = passage(tokenizer)
    start = CONTEXT.index("Tōkyō")
    first, last = found.tokens(start, "Tōkyō")  # type: ignore[misc]
    assert CONTEXT[found.places[first, 0] : found.places[last, 1]] == "Tōkyō"
    assert found.tokens(CONTEXT.index("  lives"), " ") is None
    assert found.tokens(1, "o") == found.tokens(0, "Zoë") == (0, 0), "a part of a token takes it all"


def test_labels_stand_in_every_window_that_holds_the_whole_answer_and_at_the_first_token_elsewhere(tokenizer: Path):
    found = passage(tokenizer)
    last = len(found.places) - 1
    for span in [(0, 0), (0, 3), (9, 12), (last - 2, last)]:
        held = 0
        for window, row in zip(found.windows, found.labels(span), strict=True):
            holds = window.low <= span[0] and span[1] < window.high
            start, end = (window.first + token - window.low for token in span) if holds else (0, 0)
            assert (np.flatnonzero(row & START).tolist(), np.flatnonzero(row & END).tolist()) == ([start], [end])
            assert np.flatnonzero(row & FIRST).tolist() == [0]
            assert len(row) == len(window.ids)
            held += holds
        assert held
    for nowhere in (None, (0, last)):
        assert all(row[0] == START | END | FIRST and not row[1:].any() for row in found.labels(nowhere))


def test_each_span_is_owned_by_the_window_with_most_around_it(tokenizer: Path):
    found = passage(tokenizer)
    for token, row in enumerate(found.owners(9)):
        for more, owner in enumerate(row):
            around = [
                min(token - window.low, window.high - 1 - token - more)
                if window.low <= token and token + more < window.high
                else -1
                for window in found.windows
            ]
            assert owner == (around.index(max(around)) if max(around) >= 0 else -1)


def test_a_long_question_is_cut_and_says_so(tokenizer: Path):
    found = passage(tokenizer, QUESTION * 9, longest_question=3)
    assert found.cut
    assert not passage(tokenizer).cut
    window = found.windows[0]
    assert window.first == 3 + 2
    assert window.ids[1:4].tolist() == passage(tokenizer).windows[0].ids[1:4].tolist()


def test_a_short_context_has_one_window_and_an_empty_one_too(tokenizer: Path):
    assert [(each.low, each.high) for each in passage(tokenizer, context="Zoë lives").windows] == [(0, 2)]
    (window,) = passage(tokenizer, context="").windows
    assert (window.low, window.high) == (0, 0)
    assert window.first <= len(window.ids)
    assert passage(tokenizer, context="").labels(None)[0][0] == START | END | FIRST


def test_rows_without_room_for_the_stride_are_refused(tokenizer: Path):
    with pytest.raises(ConfigError, match=r"leave 9 for the context, and its windows share 9"):
        passage(tokenizer, stride=9)
    assert passage(tokenizer, stride=8)


def test_the_answer_of_most_annotators_is_trained_on():
    assert commonest([(3, "x"), (5, "y"), (5, "y")]) == (5, "y")
    assert commonest([(5, "y"), (3, "x")]) == (5, "y")


def test_equal_pairs_give_equal_rows_whatever_is_beside_them(tokenizer: Path):
    maker = Questions(tokenizer, QuestionPreprocess(max_length=24, stride=4, longest_question=12))
    alone = next(maker([(QUESTION, CONTEXT)]))
    among = list(maker([("a", "b"), (QUESTION, CONTEXT)]))[1]
    assert all(np.array_equal(a.ids, b.ids) for a, b in zip(alone.windows, among.windows, strict=True))
