import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.asked import PREPROCESS, articles, data, question, write_tokenizer
from tlpipe.data.asked import asked, find, read_answers, version_of
from tlpipe.data.pack import pack
from tlpipe.data.packed import SPLITS, Packed
from tlpipe.data.targets import SpanLabels
from tlpipe.preprocess.questions import END, FIRST, START

Write = Callable[[Any], Path]


@pytest.fixture
def tokenizer(tmp_path: Path) -> Path:
    return write_tokenizer(tmp_path / "tokenizer")


def packed(root: Path, tokenizer: Path, tmp_path: Path, **settings: Any) -> tuple[Packed, dict[str, Any]]:
    report = pack(data(root, **settings), "question_answering", PREPROCESS, tmp_path / "packed", tokenizer=tokenizer)
    return Packed.open(tmp_path / "packed"), report


def test_rows_are_windows_with_the_answer_marked(tree: Write, tokenizer: Path, tmp_path: Path):
    made = articles(12)
    arrays, report = packed(tree({"a.json": json.dumps({"data": made}).encode()}), tokenizer, tmp_path)
    by_id = {qa["id"]: (qa, each["context"]) for art in made for each in art["paragraphs"] for qa in each["qas"]}
    assert report["used"] == 36
    assert report["classes"] == ["answered", "unanswered"]
    assert report["questions"]["windows"] == arrays.ranges["test"][1] > 36
    assert isinstance(arrays.targets, SpanLabels)
    assert arrays.classes == ("start", "end")
    seen = set()
    for split in SPLITS:
        for each in asked(arrays, split):
            raw, text = by_id[each.id]
            seen.add(each.id)
            assert each.passage.context == text
            assert each.answers == tuple(answer["text"] for answer in raw["answers"])
            held = 0
            for offset, window in enumerate(each.passage.windows):
                low, high = arrays.samples.offsets[each.row + offset : each.row + offset + 2]
                assert arrays.ids[each.row + offset] == each.id
                np.testing.assert_array_equal(arrays.samples.ids[low:high], window.ids)
                labels = arrays.labels[low:high]
                start, end = (int(np.flatnonzero(labels & bit)[0]) for bit in (START, END))
                assert labels[0] & FIRST
                if start:
                    held += 1
                    first, last = (window.low + place - window.first for place in (start, end))
                    places = each.passage.places
                    assert text[places[first, 0] : places[last, 1]] == raw["answers"][0]["text"]
                else:
                    assert end == 0
            assert bool(held) is bool(raw["answers"])
    assert seen == set(by_id)


def test_no_context_is_in_two_splits_and_both_kinds_are_in_each(tree: Write, tokenizer: Path, tmp_path: Path):
    arrays, report = packed(tree({"a.json": json.dumps({"data": articles(12)}).encode()}), tokenizer, tmp_path)
    contexts = [{each.passage.context for each in asked(arrays, split)} for split in SPLITS]
    assert not contexts[0] & contexts[1]
    assert not contexts[0] & contexts[2]
    assert not contexts[1] & contexts[2]
    assert all(count > 0 for counts in report["counts"].values() for count in counts.values())


def test_contexts_that_are_nearly_the_same_stay_together(tree: Write, tokenizer: Path, tmp_path: Path):
    made = articles(12)
    twin = json.loads(json.dumps(made[3]))
    twin["title"] = "twin"
    twin["paragraphs"][0]["context"] += " end"
    for each in twin["paragraphs"][0]["qas"]:
        each["id"] += "-twin"
    arrays, report = packed(tree({"a.json": json.dumps({"data": [*made, twin]}).encode()}), tokenizer, tmp_path)
    assert len(report["duplicates"]["near"]) == 1
    assert len(report["duplicates"]["near"][0]["ids"]) == 6
    where = {each.id: split for split in SPLITS for each in asked(arrays, split)}
    assert len({where[name] for name in report["duplicates"]["near"][0]["ids"]}) == 1


def test_questions_that_cannot_be_used_are_rejected_by_id(tree: Write, tokenizer: Path, tmp_path: Path):
    made = articles(12)
    made[0]["paragraphs"][0]["qas"][1]["answers"][0]["answer_start"] = 1
    made[1]["paragraphs"][0]["qas"][0]["question"] = " "
    made[2]["paragraphs"][0]["context"] = "\u200b" + made[2]["paragraphs"][0]["context"]
    made[2]["paragraphs"][0]["qas"][1]["answers"] = [{"answer_start": 0, "text": "\u200b"}]
    made[2]["paragraphs"][0]["qas"][2]["answers"][0]["answer_start"] += 1
    made[3]["paragraphs"].append({"context": "\u200b", "qas": [question(99, "", None)]})
    _, report = packed(tree({"a.json": json.dumps({"data": made}).encode()}), tokenizer, tmp_path)
    reasons = {each["id"]: each["reason"] for each in report["rejected"]}
    assert reasons == {
        "q0-0": "misplaced_answer",
        "q1-None": "empty",
        "q2-0": "answer_without_tokens",
        "q99-None": "empty",
    }
    assert report["used"] == 33


def test_without_unanswerable_questions_it_is_version_one(tree: Write, tokenizer: Path, tmp_path: Path):
    made = articles(12)
    for each in made:
        del each["paragraphs"][0]["qas"][0]
    arrays, report = packed(tree({"a.json": json.dumps({"data": made}).encode()}), tokenizer, tmp_path)
    assert report["classes"] == ["answered"]
    assert version_of(arrays) == "v1.1"
    assert all(read_answers(arrays.folder))


def test_scores_of_all_rows_are_read_question_by_question(tree: Write, tokenizer: Path, tmp_path: Path):
    arrays, _ = packed(tree({"a.json": json.dumps({"data": articles(12)}).encode()}), tokenizer, tmp_path)
    questions = asked(arrays, "test")
    low, high = (arrays.samples.offsets[row] for row in arrays.ranges["test"])
    labels = arrays.labels[low:high]
    scores = np.stack([(labels & START) > 0, (labels & END) > 0], axis=1) * 20.0
    for each, found in zip(questions, find(arrays, questions, scores, nullable=True), strict=True):
        # where no window has the answer both marks are at the first token, whose score is the highest of all then
        assert (found.best[0].text == each.answers[0] and found.margin <= 0) if each.answers else found.margin == 40


def test_equal_data_give_equal_bytes(tree: Write, tokenizer: Path, tmp_path: Path):
    root = tree({"a.json": json.dumps({"data": articles(12)}).encode()})
    first, _ = packed(root, tokenizer, tmp_path)
    kept = {path.name: path.read_bytes() for path in first.folder.iterdir()}
    again, _ = packed(root, tokenizer, tmp_path)
    assert {path.name: path.read_bytes() for path in again.folder.iterdir()} == kept
