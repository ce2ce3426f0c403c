"""Advice on question answering: places of answers; folds never tear the questions about a context apart."""

import numpy as np

from tlpipe.advise.marks import Kind, Labels, Marks, answered, of_questions
from tlpipe.advise.scores import CARRIED, Score
from tlpipe.data.packed import Packed
from tlpipe.data.read_texts import read_texts
from tlpipe.preprocess.questions import FIRST, START


def _answers(packed: Packed, low: int, high: int) -> int:
    labels = packed.targets.marks[slice(*packed.targets.range(low, high))]
    return int(((labels & START > 0) & (labels & FIRST == 0)).sum())


def _questions(packed: Packed, labels: Labels, samples: Labels) -> Marks:
    numbers: dict[str, int] = {}
    contexts = [numbers.setdefault(text[1], len(numbers)) for text in read_texts(packed.folder)]
    return of_questions(labels, np.array(contexts)[samples])


SCORE = Score(
    name="place_accuracy",
    title="place accuracy",
    validation="place_accuracy",
    test=None,
    samples="questions",
    examples="windows with an answer",
    doubt=CARRIED,
    exact=False,
    count=_answers,
    classes=lambda _: 1,
)
"""Of the windows that hold an answer, the share of its first and last tokens that are found among all others but the
row's first: to say "not here" of every window, as weak networks do, is right on most of them and worth nothing. It is
what validation has each epoch, and neither answer F1 nor exact match."""
MARKS = Kind(sample=lambda packed, count: packed.sample_of[:count], strata=answered, marks=_questions)
