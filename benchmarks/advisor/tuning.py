"""`all_depth_tuning` in the cells where it was trained, and what the ends of a training bring."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.advisor.cell import read
from benchmarks.advisor.fit import Cell
from benchmarks.advisor.policies import Case
from benchmarks.advisor.targets import TARGETS

NAME = "all_depth_tuning"
SHOWN = ("all_depth_head", "all_layers", NAME)
WAYS = {"interpolation by loss": "loss", "interpolation by accuracy": "accuracy"}


def regrets(cases: Sequence[Case], best: Mapping[Cell, float]) -> Iterator[str]:
    """Mean regrets (points) of each half on the cells that have it, beside those of its relatives there."""
    yield f"\n**{NAME}**, on the cells where it was trained: mean regret, points\n"
    yield f"| half | cells | {' | '.join(SHOWN)} |\n|---|---|{'---|' * len(SHOWN)}"
    half = {target.name: target.fitted for target in TARGETS}
    for title, fitted in (("fitting", True), ("unseen", False)):
        own = [case for case in cases if NAME in case.outcomes and half[case.cell[0]] == fitted]
        if own:
            means = [np.mean([100 * (best[case.cell] - case.outcomes[name].test) for case in own]) for name in SHOWN]
            names = ", ".join(sorted({f"{case.cell[0]} {case.cell[1]}" for case in own}))
            yield f"| {title}: {names} | {len(own)} | {' | '.join(f'{mean:+.2f}' for mean in means)} |"


def ends(folder: Path) -> Iterator[str]:
    """What each end gains on test over the same training's best epoch and over its start (points), fitting half."""
    allowed = {target.name for target in TARGETS if target.fitted}
    lines = [line for line in read(folder / "cells.jsonl") if "ends" in line and line["target"] in allowed]
    if not lines:
        return
    yield f"\n**Ends of a training** of `{NAME}`, fitting half, {len(lines)} trainings: points of test accuracy\n"
    yield "| end | over its best epoch, mean (sd) | over its start, mean (sd) |\n|---|---|---|"
    found = {"best epoch": [line["test"] for line in lines]}
    found |= {name: [_interpolated(line, way) for line in lines] for name, way in WAYS.items()}
    found["greedy soup of the last five epochs"] = [line["ends"]["soup"]["test"] for line in lines]
    for name, tests in found.items():
        over = [np.subtract(tests, [line["test"] for line in lines])]
        over.append(np.subtract(tests, [line["ends"]["start"] for line in lines]))
        yield f"| {name} | {' | '.join(f'{100 * each.mean():+.2f} ({100 * each.std():.2f})' for each in over)} |"


def _interpolated(line: dict[str, Any], way: str) -> float:
    end = line["ends"]["best"]
    return float(end["test"][str(end[way])])
