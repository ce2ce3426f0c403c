"""Learning rates of common advice beside those of `auto`, on the fitting half: what each reaches on test.

    python -m benchmarks.advisor.rates OUT [--minutes 60] [--seeds 2] [--targets count,cifar10] [--strategies scratch]

Restartable like the grid, a JSON line a training in OUT/rates.jsonl. Everything but the rate of the head is what `auto`
gives for the number of samples, or the grid's recipe; validation chooses the epoch of a training, and nothing else.
"""

import argparse
import math
import time
from collections import defaultdict
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.advisor.cell import Cell, Record, read
from benchmarks.advisor.grid import RECIPE, TOP, Grid, key
from benchmarks.advisor.targets import TARGETS
from tlpipe.config import parse
from tlpipe.strategies import AnyStrategy
from tlpipe.strategies.base import Strategy
from tlpipe.strategies.plan import Plan

HEAD, RULE = "head_only", "auto"
RATES = {"top_layers": (1e-5, 1e-4, 1e-3), "all_layers": (1e-5, 1e-4, 1e-3), "scratch": (3e-4, 3e-3)}
"""Beside the rule's; for `scratch` with AdamW and a batch of 32 the rule has 1e-3 too."""
NAMES = {strategy: (f"{strategy} {RULE}", *(f"{strategy} {lr:g}" for lr in rates)) for strategy, rates in RATES.items()}


class Rates(Grid):
    """The grid's machinery with a strategy and its rate in the place of a strategy."""

    def __init__(self, folder: Path, deadline: float) -> None:
        super().__init__(folder, deadline)
        self.file = folder / "rates.jsonl"
        self.done = {key(record) for record in read(self.file)}

    def _plan(self, cell: Cell, name: str, lr: float) -> Plan:
        kind, rate = name.split()
        auto = {"top_layers": {"layers": TOP[cell.target.backbone], "gamma": RULE, "stage_epochs": RULE},
                "all_layers": {"stages": 1, "rho": RULE}, "scratch": {}}[kind]  # fmt: skip
        values: dict[str, Any] = {"kind": kind, "lr": rate if rate == RULE else float(rate), "epochs": RULE, **auto}
        scale = RECIPE.scale(len(cell.packed.rows("train")), batch_norms=False)
        strategy: Strategy = parse(values, AnyStrategy, "")
        return strategy.plan(self.bench.source(cell.target.backbone)[0].groups, scale)


def tables(lines: list[Record]) -> Iterator[str]:
    """A table a strategy: by size, accuracy with the rule's rate, and what other rates and the head alone differ by."""
    for strategy, (rule, *others) in NAMES.items():
        yield from table(lines, strategy, RULE, rule, [*others, HEAD])


def table(lines: list[Record], strategy: str, title: str, first: str, others: list[str]) -> Iterator[str]:
    """By size: mean accuracy on test of `first`, and what `others` differ by in the cells that have all of them."""
    cells: dict[tuple[int, str, int], dict[str, float]] = defaultdict(dict)
    for line in lines:
        cells[line["size"], line["target"], line["seed"]][line["strategy"]] = 100 * line["test"]
    whole = {at: found for at, found in cells.items() if {first, *others} <= found.keys()}
    if not whole:
        return
    yield from ("", f"| {strategy}: labels a class | cells (targets) | {title} | {' | '.join(others)} |")
    yield f"|---|---|---|{'---|' * len(others)}"
    sizes = sorted({at[0] for at in whole})
    for chosen in [*([size] for size in sizes), *[sizes] * (len(sizes) > 1)]:
        own = {at: found for at, found in whole.items() if at[0] in chosen}
        said = [_difference(own, name, first) for name in others]
        mean, targets = np.mean([found[first] for found in own.values()]), len({at[1] for at in own})
        yield f"| {', '.join(map(str, chosen))} | {len(own)} ({targets}) | {mean:.1f} | {' | '.join(said)} |"


def _difference(cells: dict[tuple[int, str, int], dict[str, float]], name: str, rule: str) -> str:
    """Mean over the cells with its standard error, and on how many targets the mean over their cells is above 0."""
    by_target = defaultdict(list)
    for (_, target, _), found in cells.items():
        by_target[target].append(found[name] - found[rule])
    every = np.concatenate([np.array(each) for each in by_target.values()])
    error = every.std(ddof=1) / math.sqrt(len(every)) if len(every) > 1 else math.nan
    better = sum(np.mean(each) > 0 for each in by_target.values())
    return f"{every.mean():+.2f} ± {error:.2f} (better on {better})"


def main() -> None:
    """Train what is missing, then print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--minutes", type=float, default=1e6)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--sizes", default="8,32")
    parser.add_argument("--targets", default=",".join(target.name for target in TARGETS if target.fitted))
    parser.add_argument("--strategies", default=",".join(RATES))
    asked = parser.parse_args()
    rates = Rates(asked.out, time.time() + 60 * asked.minutes)
    names = (HEAD, *(name for strategy in asked.strategies.split(",") for name in NAMES[strategy]))
    chosen = [target for target in TARGETS if target.fitted and target.name in asked.targets.split(",")]
    for seed, size, target in product(range(asked.seeds), map(int, asked.sizes.split(",")), chosen):
        rates.run(target, size, seed, names)
    print(*tables(read(rates.file)), sep="\n")


if __name__ == "__main__":
    main()
