"""Tables of what was measured: `python -m benchmarks.accuracy.table [OUT]`.

With OUT its cells.jsonl is taken over into benchmarks/results/accuracy.json first. Then the tables between the marks of
benchmarks/accuracy/README.md are made from that file. A figure that was not measured says so.
"""

import json
import math
import os
import platform
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.accuracy.sets import FITTED, HELD_OUT
from benchmarks.report.provenance import stamp

RESULTS = Path(__file__).parents[1] / "results/accuracy.json"
README = Path(__file__).resolve().parent / "README.md"
COMMAND = "python -m benchmarks.accuracy.explore OUT QUEUE && python -m benchmarks.accuracy.table OUT"
BEGIN, END = "<!-- tables -->", "<!-- end of tables -->"
HEADS = ("head_only", "all_depth_head")
CROSS_FITTED = {"all_layers": "soup:auto", "all_depth_tuning": "soup:auto=1+strategy=all_depth_tuning"}
"""Fine-tunings of the image recipes by the setting that trains their folds and their refit."""
STRATEGIES = (*HEADS, *CROSS_FITTED)
SHIPPED = "champion"
"""What a comparison ships: one of `STRATEGIES`, chosen out of fold."""
RIVALS = ("plain", "peer:fastai", "peer:timm", "peer:lightning", "peer:trainer")
COLUMNS = (*STRATEGIES, SHIPPED, *RIVALS)
SIZES = (8, 25, 80)
MISSING = "not measured"
REGRET = 0.5
"""Points of test accuracy that the choice of the champion may cost."""
Record = dict[str, Any]
Place = tuple[str, int, int, int]
"""Set, labels a class, draw, pixels."""


def take_over(out: Path) -> None:
    """Add the cells of a run to the results; a cell that is there already stays as it is."""
    results = read()
    known = {identity(cell) for cell in results["cells"]}
    for line in (out / "cells.jsonl").read_text().splitlines():
        cell = json.loads(line)
        if identity(cell) not in known:
            known.add(identity(cell))
            results["cells"].append(cell)
    results["machine"] = f"{platform.machine()}, {os.cpu_count()} shared cores, one thread a training"
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    stamp(RESULTS, COMMAND, results["machine"])


def read() -> dict[str, Any]:
    """All results."""
    empty: dict[str, Any] = {"machine": "", "cells": []}
    found: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.is_file() else empty
    return found


def identity(cell: Record) -> tuple[Any, ...]:
    """What a cell is known by."""
    return (*place(cell), cell["setting"])


def place(cell: Record) -> Place:
    """The labelled samples of a cell, and the pixels."""
    return cell["set"], cell["labels"], cell["draw"], cell["size"]


def figures(cells: list[Record]) -> dict[Place, dict[str, float]]:
    """Test accuracy in percent of every strategy, of the champion and of the rivals, by labelled samples."""
    by_place: dict[Place, dict[str, float]] = defaultdict(dict)
    for cell in cells:
        if cell["setting"] in (*HEADS, *RIVALS):
            by_place[place(cell)][cell["setting"]] = 100 * cell["test"]
        elif cell["setting"] == "auto":
            by_place[place(cell)].setdefault("all_layers", 100 * cell["test"])
        for name, setting in CROSS_FITTED.items():
            if cell["setting"] == setting:
                by_place[place(cell)][name] = 100 * cell["refit"]["test"]
    for at, row in crossed(cells).items():
        by_place[at][SHIPPED] = 100 * row[champion(row)].test
    return by_place


def table(cells: list[Record], names: tuple[str, ...]) -> Iterator[str]:
    """A row a set and number of labels: the mean test accuracy of each column, in percent, and of how many draws."""
    rows: dict[tuple[str, int, int], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for (name, labels, _, size), row in figures(cells).items():
        for column, value in row.items():
            if name in names:
                rows[name, labels, size][column].append(value)
    yield f"| set | labels a class | px | {' | '.join(COLUMNS)} |"
    yield f"|---|---|---|{'---|' * len(COLUMNS)}"
    for (name, labels, size), columns in sorted(rows.items()):
        shown = [_mean(columns[column]) if columns.get(column) else "-" for column in COLUMNS]
        yield f"| {name} | {labels} | {size} | {' | '.join(shown)} |"


def _mean(values: list[float]) -> str:
    return f"{sum(values) / len(values):.1f} ({len(values)})"


def gaps(cells: list[Record], ours: str, rival: str, labels: int) -> dict[str, list[float]]:
    """Points of test accuracy by which `ours` is ahead in the same cells of the held-out sets, by set."""
    points: dict[str, list[float]] = defaultdict(list)
    for at, row in figures(cells).items():
        if at[0] in HELD_OUT and at[1] == labels and ours in row and rival in row:
            points[at[0]].append(row[ours] - row[rival])
    return dict(points)


def claims(cells: list[Record]) -> Iterator[str]:
    """Goals, what was measured, and whether it is met."""
    yield "| claim | figure | goal | met |"
    yield "|---|---|---|---|"
    for ours in (SHIPPED, "all_layers"):
        for rival in RIVALS:
            for labels in SIZES:
                points = gaps(cells, ours, rival, labels)
                means = [sum(each) / len(each) for each in points.values()]
                yield _claim(f"{ours} over {rival}, {labels} a class, held-out sets", points, means, 1.0)
    yield from _reported(cells)
    for errors in (1.0, 0.0):
        lost = [regret(row, errors) for row in crossed(cells).values()]
        figure = f"{sum(lost) / len(lost):.1f} ({len(lost)} cells, four strategies)" if lost else MISSING
        met = "yes" if lost and sum(lost) / len(lost) <= REGRET else "no"
        rule = "cheapest within one standard error" if errors else "best out of fold"
        yield f"| regret on test of the {rule} | {figure} | at most {REGRET} | {met} |"
    for claim in ("text sets", "all labels", "AutoGluon MultiModal"):
        yield f"| {claim} | {MISSING} | | no |"


def _claim(claim: str, points: dict[str, list[float]], means: list[float], goal: float) -> str:
    if not means:
        return f"| {claim} | {MISSING} | ≥ +{goal:g}, no set below -1 | no |"
    mean, worst = sum(means) / len(means), min(points, key=lambda name: sum(points[name]) / len(points[name]))
    least, count = min(means), sum(map(len, points.values()))
    met = mean >= goal and least >= -1 and len(means) == len(HELD_OUT)
    sets = f"{len(means)} of {len(HELD_OUT)} sets, {count} cells; worst {worst} {least:+.1f}"
    return f"| {claim} | {mean:+.1f} ({sets}) | ≥ +{goal:g}, no set below -1 | {'yes' if met else 'no'} |"


def _reported(cells: list[Record]) -> Iterator[str]:
    """How far what is reported out of fold is from the test figure of what ships."""
    for kind, ship in (("head_only", None), ("all_depth_head", None), ("soup:auto", "refit")):
        gap = [
            100 * (cell["pooled"] - (cell[ship]["test"] if ship else cell["test"]))
            for cell in cells
            if cell.get("pooled") is not None and cell["setting"].startswith(kind) and (not ship or ship in cell)
        ]
        name = kind if ship is None else "fine-tunings, refit"
        figure = MISSING
        if gap:
            mean = sum(gap) / len(gap)
            figure = f"{mean:+.1f}, RMS {math.sqrt(sum(each**2 for each in gap) / len(gap)):.1f} ({len(gap)} cells)"
        claim = f"out-of-fold accuracy minus test of what ships: {name}"
        yield f"| {claim} | {figure} | half of a split's (RMS 10.8 at 8) | |"


class Candidate(NamedTuple):
    """A strategy in one cell."""

    right: str
    """A 1 for every labelled sample that was right out of fold, else a 0."""
    test: float
    """Accuracy of what it ships."""

    @property
    def pooled(self) -> float:
        """Accuracy out of fold."""
        return self.right.count("1") / len(self.right)


Row = dict[str, Candidate]
"""Candidates of a cell by strategy, cheapest first."""


def crossed(cells: list[Record]) -> dict[Place, Row]:
    """Cells in which every one of `STRATEGIES` was cross-fitted."""
    rows: dict[Place, Row] = defaultdict(dict)
    for name in STRATEGIES:
        for cell in cells:
            if cell["setting"] == CROSS_FITTED.get(name, name) and "right" in cell:
                test = cell["refit"]["test"] if name in CROSS_FITTED else cell["test"]
                rows[place(cell)][name] = Candidate(cell["right"], test)
    return {at: row for at, row in rows.items() if len(row) == len(STRATEGIES)}


def champion(row: Row, standard_errors: float = 0.0) -> str:
    """The cheapest strategy to train that is within so many standard errors of the best out of fold.

    0 is what `compare` does among strategies that cost the same to serve, as all of these do; equal ones by cost here.
    """
    best = max(row, key=lambda name: row[name].pooled)
    for name in row:
        if row[best].pooled - row[name].pooled <= standard_errors * standard_error(row[best].right, row[name].right):
            return name
    return best


def standard_error(first: str, second: str) -> float:
    """Of a paired difference of accuracies; two samples are added, on which only the one or only the other is right."""
    points = np.array([int(a) - int(b) for a, b in zip(first, second, strict=True)] + [1, -1])
    return float(points.std(ddof=1) / math.sqrt(len(points)))


def regret(row: Row, standard_errors: float) -> float:
    """Points of test accuracy between the best strategy on test and the champion."""
    best = max(candidate.test for candidate in row.values())
    return 100 * (best - row[champion(row, standard_errors)].test)


def shipped(cells: list[Record]) -> Iterator[str]:
    """What is chosen out of fold among heads and fine-tunings, beside the plain loop."""
    yield "| set | labels | draw | px | candidates: out of fold, test | champion: test | best on test | plain |"
    yield "|---|---|---|---|---|---|---|---|"
    plain = {place(cell): cell["test"] for cell in cells if cell["setting"] == "plain"}
    for at, row in crossed(cells).items():
        shown = ", ".join(f"{name} {100 * each.pooled:.1f}, {100 * each.test:.1f}" for name, each in row.items())
        ends = [f"{name} {100 * row[name].test:.1f}" for name in (champion(row), max(row, key=lambda n: row[n].test))]
        other = f"{100 * plain[at]:.1f}" if at in plain else "-"
        yield f"| {' | '.join(map(str, at))} | {shown} | {' | '.join(ends)} | {other} |"


def soups(cells: list[Record]) -> Iterator[str]:
    """What K folds averaged in weights reach beside one training on all labels."""
    yield "| set | labels | draw | px | members' mean | refit on all | weights' mean of 5 folds | ensemble | pooled |"
    yield "|---|---|---|---|---|---|---|---|---|"
    plain = {identity(cell): cell["test"] for cell in cells}
    for cell in cells:
        if not cell["setting"].startswith("soup:"):
            continue
        own = cell["setting"].removeprefix("soup:")
        refit = cell["refit"]["test"] if "refit" in cell else plain.get((*place(cell), own))
        together = cell["ensemble"]["test"] if isinstance(cell["ensemble"], dict) else cell["ensemble"]
        members = sum(cell["members"]) / len(cell["members"])
        values = [members, refit, cell["test"], together, cell["pooled"]]
        shown = " | ".join("-" if value is None else f"{100 * value:.1f}" for value in values)
        yield f"| {cell['set']} | {cell['labels']} | {cell['draw']} | {cell['size']} | {shown} |"


def explored(cells: list[Record]) -> Iterator[str]:
    """All single trainings on the fitting sets."""
    yield "| set | labels | draw | px | setting | test | loss | CPU s |"
    yield "|---|---|---|---|---|---|---|---|"
    for cell in cells:
        if cell["set"] in FITTED and not cell["setting"].startswith("soup:"):
            loss = cell.get("nll", "-")
            yield (
                f"| {cell['set']} | {cell['labels']} | {cell['draw']} | {cell['size']} | {cell['setting']} "
                f"| {100 * cell['test']:.1f} | {loss} | {cell['cpu']} |"
            )


def readme() -> str:
    """Content of benchmarks/accuracy/README.md: what is between its marks is made anew."""
    results = read()
    cells = results["cells"]
    parts = [
        "## Goals", *claims(cells), "", f"Machine: {results['machine']}.", "",
        "## Held-out sets: mean test accuracy, percent (draws)", *table(cells, HELD_OUT), "",
        "## Fitting sets: mean test accuracy, percent (draws)", *table(cells, FITTED), "",
        "## What is chosen out of fold", *shipped(cells), "",
        "## Average of the folds' weights, or a refit", *soups(cells), "",
        "## Every training on the fitting sets", *explored(cells),
    ]  # fmt: skip
    text = README.read_text()
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    lines = [("\n" + line + "\n") if line.startswith("##") else line for line in parts]
    return f"{before}{BEGIN}\n" + "\n".join(lines) + f"\n\n{END}{after}"


def main() -> None:
    """Take the cells of a run over where one is given, and rewrite the tables."""
    if len(sys.argv) > 1:
        take_over(Path(sys.argv[1]))
    README.write_text(readme(), encoding="utf-8")


if __name__ == "__main__":
    main()
