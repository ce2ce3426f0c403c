"""The figures of entities are seqeval's own, bit by bit of meaning, on cases that are easy to get wrong."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from seqeval.metrics import classification_report, f1_score, precision_score, recall_score
from seqeval.metrics.sequence_labeling import get_entities
from seqeval.scheme import IOB2

from tlpipe.entities import ENTITY_METRICS, Entity, columns, entities, per_type, types_of
from tlpipe.sums import measure_sums

CLASSES = ("B-loc", "B-per-son", "I-loc", "I-per-son", "O")
AWKWARD = [
    ["O", "I-loc", "I-loc", "O"],
    ["B-loc", "I-per-son", "I-per-son"],
    ["B-loc", "B-loc", "I-loc"],
    ["I-loc", "B-loc", "I-loc", "I-per-son", "I-loc"],
    ["B-per-son"],
    ["O"],
    ["I-per-son"],
    ["B-loc", "O", "I-loc"],
    ["O", "B-loc", "I-loc", "B-per-son", "I-per-son", "O", "B-loc"],
]
SENTENCE = st.lists(st.sampled_from(CLASSES), min_size=1, max_size=9)
PAIR = SENTENCE.flatmap(
    lambda true: st.tuples(st.just(true), st.lists(st.sampled_from(CLASSES), min_size=len(true), max_size=len(true)))
)


def valid(tags: list[str]) -> list[str]:
    """The same, with every entity beginning with B."""
    fixed: list[str] = []
    for tag in tags:
        continues = fixed and fixed[-1][2:] == tag[2:]
        fixed.append("B" + tag[1:] if tag.startswith("I") and not continues else tag)
    return fixed


def table(true: list[list[str]], said: list[list[str]]) -> np.ndarray:
    numbers = [np.array([CLASSES.index(tag) for each in side for tag in each], np.int64) for side in (true, said)]
    sentences = np.repeat(np.arange(len(true)), [len(each) for each in true])
    return columns(CLASSES, *numbers, np.zeros(len(sentences)), sentences)


def check(true: list[list[str]], said: list[list[str]]) -> None:
    made = table(true, said)
    found = measure_sums(made, ENTITY_METRICS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = {
            "entity_f1": f1_score(true, said),
            "entity_precision": precision_score(true, said),
            "entity_recall": recall_score(true, said),
            "entity_macro_f1": f1_score(true, said, average="macro"),
            "strict_entity_f1": f1_score(true, said, mode="strict", scheme=IOB2),
        }
        report = classification_report(true, said, output_dict=True) if made[:, :-5].any() else {}
    if not made[:, :-5].any():
        expected["entity_macro_f1"] = 0.0  # seqeval's mean over no types is no number
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-12)
    for name, precision, recall, f1, support in per_type(made, CLASSES):
        theirs = report.get(name, {"precision": 0, "recall": 0, "f1-score": 0, "support": 0})
        ours = {"precision": precision, "recall": recall, "f1-score": f1, "support": support}
        assert ours == pytest.approx(dict(theirs), abs=1e-12)


@settings(max_examples=40, deadline=None)
@given(st.lists(PAIR, min_size=1, max_size=5))
def test_all_figures_are_seqevals(pairs: list[tuple[list[str], list[str]]]) -> None:
    check([valid(true) for true, _ in pairs], [said for _, said in pairs])


def test_all_figures_are_seqevals_on_awkward_predictions() -> None:
    for said in AWKWARD:
        for true in AWKWARD:
            if len(true) == len(said):
                check([valid(true)], [said])
    check([valid(each) for each in AWKWARD], AWKWARD)


@given(SENTENCE)
def test_entities_are_seqevals_in_the_default_mode(tags: list[str]) -> None:
    assert [(each.type, each.start, each.end - 1) for each in entities(tags)] == get_entities(tags)


def test_the_modes_differ_where_seqevals_readme_says_so() -> None:
    tags = ["I-loc", "I-loc", "O"]
    assert entities(tags) == [Entity("loc", 0, 2)]
    assert entities(tags, strict=True) == []


def test_entities_do_not_run_on_from_one_sentence_to_the_next() -> None:
    made = table([["O", "B-loc"], ["I-loc", "O"]], [["O", "B-loc"], ["I-loc", "O"]])
    assert made[:, :3].tolist() == [[1, 1, 1], [1, 1, 1]]
    assert types_of(CLASSES) == ("loc", "per-son")
