"""Regret against the oracle, and who the oracle is."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from benchmarks.advisor.fit import Cell, Outcome
from benchmarks.advisor.grid import ENDING, FROZEN, FULL
from benchmarks.advisor.policies import Case, Policy

PLAIN = (*FROZEN, *FULL)
ALL = (*PLAIN, *ENDING[:1])
CONSTANT = "all_depth_head"
"""What a policy has to beat: the best fixed strategy of the fitting half."""
DRAWS = 2000
POINT = 0.01
EQUAL = 0.5
"""Points by which two policies may differ in a cell and count as equal."""


class Row(NamedTuple):
    """One policy on one set of cells; regrets in points."""

    mean: float
    low: float
    high: float
    median: float
    p90: float
    worst: float
    hits: float
    better: int
    """Cells in which it reaches more than CONSTANT does, by more than EQUAL points."""
    worse: int
    cost: float


def own_oracle(cells: Mapping[Cell, Mapping[str, Outcome]]) -> dict[Cell, float]:
    """The best test accuracy in every cell: biased up by its luck."""
    return {cell: max(found[name].test for name in ALL) for cell, found in cells.items()}


def oracle(cells: Mapping[Cell, Mapping[str, Outcome]], names: Sequence[str] = ALL) -> dict[Cell, float]:
    """The cross-fitted oracle's test accuracy in every cell whose target and size have at least two seeds."""
    return {
        cell: cells[cell][_best(others, lambda outcome: outcome.test, names)].test
        for cell, others in _seeds(cells).items()
    }


def halved(cells: Mapping[Cell, Mapping[str, Outcome]]) -> dict[Cell, float]:
    """An oracle of PLAIN, chosen on one half of the test split and scored on the other, both ways.

    Cells without halves miss; of an interpolation there are none.
    """
    found = {}
    for cell, others in _seeds(cells).items():
        if all(each[name].halves for each in (cells[cell], *others) for name in PLAIN):
            chosen = [_best(others, partial(_half, half), PLAIN) for half in range(2)]
            found[cell] = float(np.mean([cells[cell][name].halves[1 - half] for half, name in enumerate(chosen)]))
    return found


def _seeds(cells: Mapping[Cell, Mapping[str, Outcome]]) -> dict[Cell, list[Mapping[str, Outcome]]]:
    """By cell its target and size with other seeds; cells without any are left out."""
    others = {cell: [cells[each] for each in cells if each[:2] == cell[:2] and each != cell] for cell in cells}
    return {cell: found for cell, found in others.items() if found}


def _half(half: int, outcome: Outcome) -> float:
    return outcome.halves[half]


def _best(seeds: Sequence[Mapping[str, Outcome]], score: Callable[[Outcome], float], names: Sequence[str]) -> str:
    return max(names, key=lambda name: float(np.mean([score(seed[name]) for seed in seeds])))


def judge(policy: Policy, cases: Sequence[Case], best: Mapping[Cell, float]) -> Row:
    """All figures of one policy; the interval is a bootstrap over targets, which are what generalises."""
    regrets: dict[str, list[float]] = defaultdict(list)
    costs, gains = [], []
    for case in cases:
        choice = policy(case)
        gains.append(100 * (choice.test - case.outcomes[CONSTANT].test))
        regrets[case.cell[0]].append(100 * (best[case.cell] - choice.test))
        costs.append(choice.seconds / case.outcomes["all_layers"].seconds)
    values = np.concatenate([np.array(each) for each in regrets.values()])
    names, generator = sorted(regrets), np.random.default_rng(0)
    draws = [
        np.mean(np.concatenate([regrets[names[index]] for index in generator.integers(0, len(names), len(names))]))
        for _ in range(DRAWS)
    ]
    low, high = np.percentile(draws, [2.5, 97.5])
    return Row(
        float(values.mean()), float(low), float(high), float(np.median(values)), float(np.percentile(values, 90)),
        float(values.max()), float((values <= 100 * POINT).mean()), sum(gain > EQUAL for gain in gains),
        sum(gain < -EQUAL for gain in gains), float(np.mean(costs)),
    )  # fmt: skip
