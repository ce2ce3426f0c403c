"""What probes are fitted on and judged by: marks of samples that a fold never tears apart.

Two words of a sentence tell of each other, and so do two questions about one context: whoever has seen one of them has
an easier time with the other. Such marks are one *unit*, and units are what is dealt into folds, drawn and counted.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tlpipe.data.packed import Packed
from tlpipe.entities import columns
from tlpipe.preprocess.questions import END, FIRST, START

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]
Counts = Callable[[Floats], Floats]


@dataclass(frozen=True)
class Marks:
    """M marks of U units; see `tlpipe.data.targets` for what a mark is."""

    labels: Labels
    """(M,)"""
    units: Labels
    """(M,) the unit of each mark, numbered from 0."""
    strata: Labels
    """(U,) what folds and nested parts are stratified by."""
    answers: Floats
    """(M, C) what a probe is to give."""
    logistic: bool
    """Whether the probe is the head itself, logistic regression, instead of ridge regression."""
    counts: Counts
    """Of scores (M, C): (U, 2), how much of what is at stake in each unit is won, and how much is at stake."""


def of_samples(labels: Labels, classes: int) -> Marks:
    """Each sample is a unit with one mark; what is counted is whether its class has the highest score."""

    def counts(scores: Floats) -> Floats:
        return np.stack([scores.argmax(1) == labels, np.ones(len(labels))], 1).astype(np.float64)

    return Marks(labels, np.arange(len(labels)), labels, np.eye(classes)[labels], False, counts)


def of_words(labels: Labels, sentences: Labels, names: tuple[str, ...]) -> Marks:
    """A sentence is a unit; what is counted adds up to the F1 of entities (seqeval's default mode, micro average).

    F1 = right / ((predicted + actual) / 2): what is at stake is half of all entities that are predicted or there.
    The probe is logistic: where nearly all words are O, ridge regression calls nearly nothing an entity.

    Args:
        labels: (M,) tag of each word.
        sentences: (M,) number of its sentence, ascending.
        names: Of the tags.
    """
    units = np.unique(sentences, return_inverse=True)[1].astype(np.int64)

    def counts(scores: Floats) -> Floats:
        table = columns(names, labels, scores.argmax(1), np.zeros(len(labels)), units)
        right, said, true = table[:, :-5].reshape(len(table), -1, 3).sum(1).T
        return np.stack([right, (said + true) / 2], 1)

    return Marks(labels, units, rarest(labels, units), np.eye(len(names))[labels], True, counts)


def of_questions(labels: Labels, contexts: Labels) -> Marks:
    """A context with all questions about it is a unit; what is counted is `place_accuracy` of `QuestionAnswering`.

    That is, of windows with an answer, whether its first and its last token have the highest scores of all but the
    row's first.

    Args:
        labels: (M,) bits of each token, window after window.
        contexts: (M,) number of its context.
    """
    units = np.unique(contexts, return_inverse=True)[1].astype(np.int64)
    firsts = np.flatnonzero(labels & FIRST)
    row = np.cumsum(labels & FIRST > 0) - 1
    place = np.arange(len(labels)) - firsts[row]
    inside = labels & FIRST == 0
    answers = np.stack([(labels & bit > 0) & inside for bit in (START, END)], 1)
    held = np.bincount(row, answers[:, 0])

    def counts(scores: Floats) -> Floats:
        won = np.zeros(len(firsts))
        for which in range(2):
            padded = np.full((len(firsts), int(place.max()) + 1), -np.inf)
            padded[row[inside], place[inside]] = scores[inside, which]
            won += answers[firsts + padded.argmax(1), which]
        owner = units[firsts]
        return np.stack([np.bincount(owner, won), np.bincount(owner, 2 * held)], 1)

    return Marks(labels, units, answered(labels, units), answers.astype(np.float64), False, counts)


def rarest(labels: Labels, units: Labels) -> Labels:
    """(U,) the label of each unit that is the rarest of all: for words a tag, O where a sentence has no other one."""
    order = np.argsort(np.argsort(-np.bincount(labels), kind="stable"), kind="stable")
    found = np.zeros(int(units.max()) + 1, np.int64)
    np.maximum.at(found, units, order[labels])
    return found


def answered(labels: Labels, units: Labels) -> Labels:
    """(U,) 1 for units in which some token that is not a row's first one begins an answer, else 0."""
    found = np.zeros(int(units.max()) + 1, np.int64)
    np.maximum.at(found, units, ((labels & START > 0) & (labels & FIRST == 0)).astype(np.int64))
    return found


class Kind(NamedTuple):
    """How samples of one kind become marks."""

    sample: Callable[[Packed, int], Labels]
    """(n,) number of the sample that each of the first n rows is of, ascending from 0."""
    strata: Callable[[Labels, Labels], Labels]
    """Stratum of each sample, of the labels (M,) and samples (M,) of marks."""
    marks: Callable[[Packed, Labels, Labels], Marks]
    """Of labels (M,) and of the number of each mark's sample (M,)."""
