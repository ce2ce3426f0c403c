"""What one could do instead of trying everything: the advisor, and the baselines that it has to beat."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from benchmarks.advisor.fit import Cell, Outcome
from benchmarks.advisor.grid import BATCH, FROZEN, FULL, STEPS, trained
from benchmarks.advisor.targets import EVERY
from tlpipe.advise.advice import Advice, advise
from tlpipe.advise.cost import Clock
from tlpipe.advise.decision import typical, weighed
from tlpipe.advise.evidence import Evidence
from tlpipe.advise.experience import Experience
from tlpipe.advise.race import SHARE, laps
from tlpipe.advise.region import REGIONS, SMALL, region
from tlpipe.strategies.all_depth_head import AllDepthHead
from tlpipe.strategies.base import Strategy
from tlpipe.strategies.head_only import HeadOnly

GROUPS = {
    "letters": ("stem", "stage1", "stage2", "stage3", "stage4"),
    "mobilenet_v2": ("stem", *(f"block{index}" for index in range(1, 18)), "top"),
}
VIEWS = 1
"""The grid does not augment."""


class Choice(NamedTuple):
    """What a policy ended up with, and what it had to train for it, in seconds."""

    test: float
    seconds: float


Policy = Callable[["Case"], Choice]


@dataclass(frozen=True)
class Case:
    """One cell with everything that a policy may know; `outcomes` holds what it may train."""

    cell: Cell
    outcomes: Mapping[str, Outcome]
    evidence: Evidence
    line: Mapping[str, Any]
    """Of evidence.jsonl."""
    experience: Experience

    def advice(self) -> tuple[Advice, dict[str, Strategy], Sequence[str], Clock]:
        """The advisor's, on the strategies that were trained in this cell."""
        groups = GROUPS[self.line["backbone"]]
        epochs = max(1, round(STEPS[self.cell[1]] / math.ceil(0.75 * self.evidence.samples / BATCH)))
        strategies: dict[str, Strategy] = {
            name: _frozen(name) if name in FROZEN else trained(name, self.line["backbone"], 1e-3, epochs)
            for name in self.outcomes
            if name in self.experience.rules
        }
        cuts = {index: index / len(groups) for index in range(len(groups) + 1)}
        clock = Clock(float(self.line["forward"]), cuts)
        return advise(strategies, groups, self.evidence, self.experience, clock, VIEWS), strategies, groups, clock


def _frozen(name: str) -> Strategy:
    return HeadOnly(kind="head_only") if name == "head_only" else AllDepthHead(kind="all_depth_head")


def always(name: str) -> Policy:
    """One strategy, whatever the data."""
    return lambda case: Choice(case.outcomes[name].test, case.outcomes[name].seconds)


def searched(names: Sequence[str]) -> Policy:
    """Train all of `names` to the end and take the best on validation (of equal ones the first)."""

    def choose(case: Case) -> Choice:
        there = [case.outcomes[name] for name in names if name in case.outcomes]
        best = max(there, key=lambda outcome: outcome.validation)
        return Choice(best.test, sum(outcome.seconds for outcome in there))

    return choose


def table(similar: Callable[[Case], bool] | None = None) -> Policy:
    """The static flow chart; `similar` replaces the advisor's own measure of it."""

    def choose(case: Case) -> Choice:
        where = region(case.evidence)
        if similar is not None:
            where = REGIONS[case.evidence.per_class < SMALL, similar(case)]
        return always(where.kind)(case)

    return choose


def above(figure: str, cases: Sequence[Case]) -> Callable[[Case], bool]:
    """Whether a score lies above its median on `cases`, the fitting half."""
    median = float(np.median([case.line[figure] for case in cases])) if cases else 0.0
    return lambda case: bool(case.line[figure] > median)


def single(case: Case) -> Choice:
    """The advisor's recommendation, trained."""
    return always(case.advice()[0].recommended.name)(case)


def raced(case: Case) -> Choice:
    """The advisor's race, replayed from the recorded epochs: laps, one survivor, frozen rivals by validation."""
    advice, strategies, groups, clock = case.advice()
    entries = laps(advice, strategies, groups, clock, VIEWS)
    return _raced(case, entries, partial(_judged, case, advice))


def race_only(case: Case) -> Choice:
    """The same race without advice: everything runs, each for its share of SHARE, and validation alone judges."""
    laps = {name: max(1, int(SHARE / (len(FULL) - 1) * len(case.outcomes[name].curve))) for name in FULL}
    return _raced(case, {**laps, **dict.fromkeys(FROZEN, 0)}, lambda name, accuracy: accuracy)


def _raced(case: Case, entries: Mapping[str, int], judged: Callable[[str, float], float]) -> Choice:
    """`entries` holds the epochs of each lap, 0 for who trains to the end; `judged` weighs what validation says."""
    finalists = [name for name, epochs in entries.items() if not epochs]
    seconds, reached = 0.0, {name: _lap(case, name, epochs) for name, epochs in entries.items() if epochs}
    if reached:
        survivor = max(reached, key=lambda name: judged(name, reached[name]))
        finalists.insert(0, survivor)
        for name in set(reached) - {survivor}:
            outcome = case.outcomes[name]
            seconds += outcome.seconds * entries[name] / len(outcome.curve)
    best = max(finalists, key=lambda name: judged(name, _lap(case, name, None)))
    return Choice(case.outcomes[best].test, seconds + sum(case.outcomes[name].seconds for name in finalists))


def _judged(case: Case, advice: Advice, name: str, accuracy: float) -> float:
    known = next(option.predicted for option in advice.options if option.name == name)
    return weighed(known.accuracy, known.spread, accuracy, round(case.evidence.samples / EVERY))


def _lap(case: Case, name: str, epochs: int | None) -> float:
    """What validation says after so many epochs; None = at the end."""
    outcome = case.outcomes[name]
    if epochs is None and outcome.mixed:
        return outcome.validation
    return typical(outcome.curve[:epochs] or [outcome.validation])
