"""Exact match and F1 of answers, as the official evaluation scripts of SQuAD v1.1 and v2.0 define them.

Both scripts compare normalised texts (`normalised`), F1 counts the words that two texts share, and of several right
answers the one that fits best counts (Rajpurkar et al. 2016, arXiv 1606.05250; 2018, arXiv 1806.03822). They differ
where nothing is left of a text: v2.0 gives an F1 of 1 when both are empty and of 0 when one is, v1.1 always 0; and v2.0
takes a question whose answers are all empty once normalised for one whose right answer is the empty text.
"""

import re
import string
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tlpipe.sums import SumMetric

Version = Literal["v1.1", "v2.0"]
Floats = NDArray[np.float64]
THRESHOLD = "no_answer_threshold"
"""How much better than the best span "no answer" must score to be said, on logits divided by the temperature."""
PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalised(text: str) -> str:
    """Lower case, without ASCII punctuation, without the words a, an and the, one space between words."""
    bare = text.lower().translate(PUNCTUATION)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", bare).split())


def exact_match(said: str, right: str) -> float:
    """1 when the normalised texts are equal, else 0; the same in both versions."""
    return float(normalised(said) == normalised(right))


def f1(said: str, right: str, version: Version) -> float:
    """Harmonic mean of the shares of the words of each text that the other one has, repetitions counted."""
    words, truth = normalised(said).split(), normalised(right).split()
    if version == "v2.0" and not (words and truth):
        return float(words == truth)
    shared = sum((Counter(words) & Counter(truth)).values())
    if not shared:
        return 0.0
    precision, recall = shared / len(words), shared / len(truth)
    return 2 * precision * recall / (precision + recall)


def right_answers(answers: Sequence[str], version: Version) -> tuple[str, ...]:
    """The texts that a prediction is compared with; in v2.0 the empty one where nothing is left of any answer."""
    if version == "v1.1":
        return tuple(answers)
    return tuple(text for text in answers if normalised(text)) or ("",)


@dataclass(frozen=True)
class Scored:
    """Scores of N questions, each 0 to 1."""

    exact: Floats
    """(N,)"""
    f1: Floats
    """(N,)"""
    answered: NDArray[np.bool_]
    """(N,) whether the question has an answer."""


def score(said: Sequence[str], answers: Sequence[Sequence[str]], version: Version) -> Scored:
    """The scores of what was `said` to each question; an empty text says that there is no answer.

    Raises:
        ValueError: Different numbers of questions, none, or in v1.1 a question without any answer.
    """
    if len(said) != len(answers) or not said:
        raise ValueError(f"need as many texts as questions, and one at least; got {len(said)} and {len(answers)}")
    right = [right_answers(each, version) for each in answers]
    if not all(right):
        raise ValueError("a question has no answer, which only v2.0 knows")
    return Scored(
        np.array([max(exact_match(text, one) for one in those) for text, those in zip(said, right, strict=True)]),
        np.array([max(f1(text, one, version) for one in those) for text, those in zip(said, right, strict=True)]),
        np.array([bool(each) for each in answers]),
    )


def columns(scored: Scored) -> Floats:
    """What the metrics are summed from, a line a question (N, 5).

    Exact match and F1 of the questions that have an answer, and how many these are; the score of those that have none
    (where exact match and F1 are one), and how many these are.
    """
    some, none = scored.answered.astype(np.float64), (~scored.answered).astype(np.float64)
    return np.stack([scored.exact * some, scored.f1 * some, some, scored.f1 * none, none], axis=1)


ADDED = (
    np.array([[0.0, 0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0, 1.0]]),
    np.array([[1.0, 1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0, 1.0]]),
)
"""`columns` of questions that nobody observed, for intervals: wrong and right ones with an answer and without one."""


def _share(above: Floats, below: Floats, there: Floats) -> Floats:
    """NaN where there are no questions of one kind: then the metric says nothing that another does not."""
    return np.where(there > 0, above / np.maximum(below, 1), np.nan)


ANSWER_METRICS: dict[str, SumMetric] = {
    "f1": SumMetric("F1", True, lambda sums: (sums[1] + sums[3]) / (sums[2] + sums[4])),
    "exact_match": SumMetric("Exact match", True, lambda sums: (sums[0] + sums[3]) / (sums[2] + sums[4])),
    "answered_f1": SumMetric("F1 where there is an answer", True, lambda sums: _share(sums[1], sums[2], sums[4])),
    "answered_exact_match": SumMetric(
        "Exact match where there is an answer", True, lambda sums: _share(sums[0], sums[2], sums[4])
    ),
    "unanswered_f1": SumMetric("F1 where there is none", True, lambda sums: _share(sums[3], sums[4], sums[4])),
}
"""Means over questions; those of one kind only where there are both (HasAns and NoAns of the script of v2.0)."""


def outcomes(metric: str, scored: Scored) -> Floats | None:
    """Whether each question that a metric is about is right, 1 or 0, where the metric is the share of these."""
    chosen = {
        "exact_match": scored.exact,
        "answered_exact_match": scored.exact[scored.answered],
        "unanswered_f1": scored.f1[~scored.answered],
    }
    return chosen.get(metric)


def best_threshold(margins: Floats, scored: Scored) -> float:
    """The threshold on `margins` above which "no answer" is said, for the highest mean F1; v2.0's rule.

    Args:
        margins: (N,) score of no answer minus that of the best answer.
        scored: Of the best answers, as if a question were always answered.

    Every threshold that decides differently is tried, in the middle between two neighbouring margins; of equally good
    ones the one nearest to 0 is taken. Tune it on other questions than those that are reported: the official script's
    `best_f1` does not, and is an upper bound.
    """
    order = np.argsort(margins, kind="stable")
    ranked = margins[order]
    gain = scored.f1[order] - (~scored.answered[order]).astype(np.float64)
    total = np.concatenate([[0.0], np.cumsum(gain)])
    ends = np.concatenate([[ranked[0] - 1.0], (ranked[1:] + ranked[:-1]) / 2, [ranked[-1] + 1.0]])
    possible = np.concatenate([[True], ranked[1:] > ranked[:-1], [True]])
    best = total[possible].max()
    good = ends[possible & (total >= best - 1e-9)]
    return float(good[np.argmin(np.abs(good))])
