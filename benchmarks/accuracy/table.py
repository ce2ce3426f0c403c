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
from typing import Any

from benchmarks.accuracy.sets import FITTED, HELD_OUT

RESULTS = Path("benchmarks/results/accuracy.json")
README = Path(__file__).parent / "README.md"
BEGIN, END = "<!-- tables -->", "<!-- end of tables -->"
OURS = "auto"
"""What the image recipes' `all_layers` ships: refit on all labels, last epoch."""
RIVALS = ("plain", "peer:fastai", "peer:timm", "peer:lightning", "peer:trainer")
COLUMNS = ("head_only", "all_depth_head", OURS, *RIVALS)
SIZES = (8, 25, 80)
MISSING = "not measured"
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


def table(cells: list[Record], names: tuple[str, ...]) -> Iterator[str]:
    """A row a set and number of labels: the mean test accuracy of each column, in percent, and of how many draws."""
    found: dict[tuple[str, int, int], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for cell in cells:
        if cell["set"] in names:
            found[cell["set"], cell["labels"], cell["size"]][cell["setting"]].append(100 * cell["test"])
    yield f"| set | labels a class | px | {' | '.join(COLUMNS)} |"
    yield f"|---|---|---|{'---|' * len(COLUMNS)}"
    for (name, labels, size), row in sorted(found.items()):
        shown = [_mean(row[column]) if row.get(column) else "-" for column in COLUMNS]
        if any(row.get(column) for column in COLUMNS):
            yield f"| {name} | {labels} | {size} | {' | '.join(shown)} |"


def _mean(values: list[float]) -> str:
    return f"{sum(values) / len(values):.1f} ({len(values)})"


def gaps(cells: list[Record], ours: str, rival: str, labels: int) -> dict[str, list[float]]:
    """Points of test accuracy by which `ours` is ahead in the same cells of the held-out sets, by set."""
    by_place: dict[Place, dict[str, float]] = defaultdict(dict)
    for cell in cells:
        if cell["set"] in HELD_OUT and cell["labels"] == labels:
            by_place[place(cell)][cell["setting"]] = 100 * cell["test"]
    found: dict[str, list[float]] = defaultdict(list)
    for at, row in by_place.items():
        if ours in row and rival in row:
            found[at[0]].append(row[ours] - row[rival])
    return dict(found)


def claims(cells: list[Record]) -> Iterator[str]:
    """Goals, what was measured, and whether it is met."""
    yield "| claim | figure | goal | met |"
    yield "|---|---|---|---|"
    for rival in RIVALS:
        for labels in SIZES:
            found = gaps(cells, OURS, rival, labels)
            means = [sum(each) / len(each) for each in found.values()]
            yield _claim(f"all_layers by auto over {rival}, {labels} a class, held-out sets", found, means, 1.0)
    yield from _reported(cells)
    lost = [regret(row)[2] for row in crossed(cells).values()]
    figure = f"{sum(lost) / len(lost):.1f} ({len(lost)} cells, three strategies)" if lost else MISSING
    yield f"| champion's regret against the best strategy on test | {figure} | at most 0.5 | no: too few cells |"
    for claim in ("text sets", "all labels", "AutoGluon MultiModal", "SetFit"):
        yield f"| {claim} | {MISSING} | | no |"


def _claim(claim: str, found: dict[str, list[float]], means: list[float], goal: float) -> str:
    if not means:
        return f"| {claim} | {MISSING} | ≥ +{goal:g}, no set below -1 | no |"
    mean, worst = sum(means) / len(means), min(found, key=lambda name: sum(found[name]) / len(found[name]))
    least, count = min(means), sum(map(len, found.values()))
    met = mean >= goal and least >= -1 and len(means) == len(HELD_OUT)
    sets = f"{len(means)} of {len(HELD_OUT)} sets, {count} cells; worst {worst} {least:+.1f}"
    return f"| {claim} | {mean:+.1f} ({sets}) | ≥ +{goal:g}, no set below -1 | {'yes' if met else 'no'} |"


def _reported(cells: list[Record]) -> Iterator[str]:
    """How far what is reported out of fold is from the test figure of what ships."""
    for kind, ship in (("head_only", None), ("all_depth_head", None), ("soup:", "refit")):
        gap = [
            100 * (cell["pooled"] - (cell[ship]["test"] if ship else cell["test"]))
            for cell in cells
            if cell.get("pooled") is not None and cell["setting"].startswith(kind) and (not ship or ship in cell)
        ]
        name = kind if ship is None else "fine-tuning of all layers, refit"
        figure = MISSING
        if gap:
            mean = sum(gap) / len(gap)
            figure = f"{mean:+.1f}, RMS {math.sqrt(sum(each**2 for each in gap) / len(gap)):.1f} ({len(gap)} cells)"
        claim = f"out-of-fold accuracy minus test of what ships: {name}"
        yield f"| {claim} | {figure} | half of a split's (RMS 10.8 at 8) | |"


Row = dict[str, tuple[float, float]]
"""By strategy: accuracy out of fold, and on test of what it ships."""


def crossed(cells: list[Record]) -> dict[Place, Row]:
    """Cells in which both heads and the fine-tuning of all layers were cross-fitted; the cheapest strategy first."""
    found: dict[Place, Row] = defaultdict(dict)
    for cell in cells:
        if cell["setting"] in ("head_only", "all_depth_head"):
            found[place(cell)][cell["setting"]] = cell["pooled"], cell["test"]
    for cell in cells:
        if cell["setting"] in ("soup:base", "soup:auto") and "refit" in cell:
            found[place(cell)]["all_layers"] = cell["pooled"], cell["refit"]["test"]
    return {at: row for at, row in found.items() if len(row) == 3}


def regret(row: Row) -> tuple[str, str, float]:
    """What the best out-of-fold accuracy chooses, what is best on test, and the points between them."""
    chosen, best = max(row, key=lambda name: row[name][0]), max(row, key=lambda name: row[name][1])
    return chosen, best, 100 * (row[best][1] - row[chosen][1])


def shipped(cells: list[Record]) -> Iterator[str]:
    """What the best out-of-fold accuracy chooses among heads and fine-tuning, beside the plain loop."""
    yield "| set | labels | draw | px | candidates: pooled, test | chosen: test | best: test | regret | plain |"
    yield "|---|---|---|---|---|---|---|---|---|"
    plain = {place(cell): cell["test"] for cell in cells if cell["setting"] == "plain"}
    for at, row in crossed(cells).items():
        chosen, best, lost = regret(row)
        figures = ", ".join(f"{name} {100 * a:.1f}, {100 * b:.1f}" for name, (a, b) in row.items())
        ends = [f"{name} {100 * row[name][1]:.1f}" for name in (chosen, best)]
        other = f"{100 * plain[at]:.1f}" if at in plain else "-"
        yield f"| {' | '.join(map(str, at))} | {figures} | {' | '.join(ends)} | {lost:.1f} | {other} |"


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


def main() -> None:
    """Rewrite the tables."""
    if len(sys.argv) > 1:
        take_over(Path(sys.argv[1]))
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
    README.write_text(f"{before}{BEGIN}\n" + "\n".join(lines) + f"\n\n{END}{after}")


if __name__ == "__main__":
    main()
