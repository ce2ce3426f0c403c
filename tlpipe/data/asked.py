"""The questions of packed arrays, with their right answers, and what a network's scores say of them."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from tlpipe.answer_metrics import Version
from tlpipe.data.packed import Packed, Split
from tlpipe.data.read_texts import read_texts
from tlpipe.preprocess.answers import Answers, decode
from tlpipe.preprocess.questions import Passage, QuestionPreprocess, Questions
from tlpipe.preprocess.text import TOKENIZER

ANSWERS = "answers.jsonl"
"""The right answers, a JSON list a question, in the order of the samples; an empty one where there is no answer."""


@dataclass(frozen=True)
class Asked:
    """One question."""

    id: str
    row: int
    """Of its first window in the packed arrays; the others follow."""
    question: str
    passage: Passage
    answers: tuple[str, ...]
    """None where there is no answer."""


def write_answers(folder: Path, answers: Sequence[Sequence[str]]) -> None:
    """Write the right answers of each question, in the order of the samples."""
    lines = (json.dumps(list(each), ensure_ascii=False) for each in answers)
    (folder / ANSWERS).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def read_answers(folder: Path) -> list[tuple[str, ...]]:
    """What `write_answers` wrote."""
    lines = (folder / ANSWERS).read_text(encoding="utf-8").split("\n")
    return [tuple(json.loads(line)) for line in lines if line]


def version_of(packed: Packed) -> Version:
    """By which script answers are judged: that of v2.0 where some question has no answer."""
    return "v1.1" if all(read_answers(packed.folder)) else "v2.0"


def asked(packed: Packed, split: Split) -> list[Asked]:
    """The questions of one split in the order of their rows, tokenized again: their windows are the rows."""
    rows = packed.rows(split)
    first = rows[np.unique(packed.sample_of[rows], return_index=True)[1]] if len(rows) else rows
    numbers = packed.sample_of[first]
    texts, answers = read_texts(packed.folder), read_answers(packed.folder)
    pairs = [(texts[number][0], texts[number][1]) for number in numbers]
    passages = Questions(packed.folder / TOKENIZER, cast(QuestionPreprocess, packed.preprocess))(pairs)
    return [
        Asked(packed.ids[row], int(row), pair[0], passage, answers[number])
        for row, number, pair, passage in zip(first, numbers, pairs, passages, strict=True)
    ]


def find(
    packed: Packed, questions: Sequence[Asked], scores: NDArray[Any], nullable: bool, count: int = 1
) -> list[Answers]:
    """What the scores (T, 2) of all tokens of the questions' rows, in order, say of each question."""
    longest = cast(QuestionPreprocess, packed.preprocess).longest_answer
    found, at = [], 0
    for each in questions:
        rows = []
        for window in each.passage.windows:
            rows.append(scores[at : at + len(window.ids)].T)
            at += len(window.ids)
        found.append(decode(each.passage, rows, count, longest, nullable))
    return found
