"""What fine-tuning was seen to bring, as a small rule: fitted by `benchmarks.advisor.fit`, never by hand.

The rule predicts the logarithm of an error relative to a measured one, log((e + D) / (e_probe + D)), linearly in three
figures. Few terms on purpose: with a handful of targets, more of them fit the targets and not the question.
"""

import json
import math
from functools import cache
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from tlpipe.advise.evidence import Evidence
from tlpipe.advise.probe import Measured
from tlpipe.config import Spec, parse

FILE = Path(__file__).with_name("experience.json")
D = 0.01
"""Keeps logarithms of small errors from meaning much."""
TERMS = ("one", "samples a class", "depths", "task fit")
BORROWED = 1.5
"""Factor on the uncertainty of a kind that was never measured and takes the figures of the nearest one."""


class Rule(Spec):
    """What was learnt about one kind of strategy."""

    probe: Literal["last", "best"]
    """The measured error that this is relative to: `Evidence.last` or `Evidence.best`."""
    weights: tuple[float, ...]
    """One a term of TERMS."""
    sigma: float
    """Root mean square of what the rule missed on targets that were left out of its fit, in the logarithm."""
    cells: int
    """Target, size and seed combinations that it was fitted on."""


class Experience(Spec):
    """All rules, and what they come from."""

    targets: tuple[str, ...]
    """Data sets that the rules were fitted on."""
    rules: dict[str, Rule]
    """By kind of strategy."""

    @property
    def cells(self) -> int:
        """Of the rule with the fewest."""
        return min((rule.cells for rule in self.rules.values()), default=0)

    @property
    def most_cells(self) -> int:
        """Of the rule with the most."""
        return max((rule.cells for rule in self.rules.values()), default=0)


class Predicted(NamedTuple):
    """An accuracy, or another score, with its uncertainty."""

    accuracy: float
    sigma: float
    """Standard deviation, the measured probe's included."""
    spread: float
    """The rule's part of it: what does not cancel when two strategies on the same data are compared."""


@cache
def load_experience(file: Path = FILE) -> Experience:
    """The rules that ship with this version."""
    experience: Experience = parse(json.loads(file.read_text(encoding="utf-8")), Experience, file.name)
    return experience


def error_of(measured: Measured) -> float:
    """Its error, drawn a little from 0 and 1 where it rests on few samples (Laplace's rule)."""
    return (measured.samples * (1 - measured.accuracy) + 1) / (measured.samples + 2)


def terms(evidence: Evidence) -> tuple[float, ...]:
    """The figures that the rule is linear in, in the order of TERMS."""
    last, every, random = (error_of(each) for each in (evidence.last, evidence.all_depths, evidence.random))
    return (
        1.0,
        math.log10(evidence.per_class) - 1.5,
        math.log((every + D) / (last + D)),
        math.log((every + D) / (random + D)),
    )


def predict(rule: Rule, evidence: Evidence, borrowed: bool = False, beside: Rule | None = None) -> Predicted:
    """Score on unseen data after training with all labelled samples.

    The rules are of accuracies. For another score they hold by assumption, in relation to that of the frozen head
    (`beside`), whose score is the probe's as it is: how probes of whole samples differ from heads says nothing there.
    What this is for all others has the score's `doubt`.
    """
    base = evidence.last if rule.probe == "last" else evidence.best
    error = error_of(base)
    own, other = np.array(rule.weights), np.array(beside.weights if beside else np.zeros(len(TERMS)))
    ratio = math.exp(float((own - other) @ np.array(terms(evidence))))
    itself = beside is not None and bool((own == other).all())
    doubt = 1.0 if beside is None or itself else evidence.score.doubt
    expected = min(max((error + D) * ratio - D, 0.0), 1.0)
    spread = (expected + D) * rule.sigma * (BORROWED if borrowed else 1.0) * doubt
    if itself and evidence.score.exact:
        return Predicted(1 - expected, base.sigma, base.sigma)
    return Predicted(1 - expected, math.hypot(spread, base.sigma * ratio), spread)
