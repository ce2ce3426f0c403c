"""The constants of `auto` (tlpipe/strategies/scale.py) beside others, on the fitting half: fine-tuning of all layers.

    python -m benchmarks.advisor.auto OUT [--seeds 2] [--minutes 60]

Restartable like the grid, a JSON line a training in OUT/auto.jsonl. Rate, epochs and rho are the rule's for the number
of training samples, or differ from it in one thing; all else is the grid's recipe, and validation chooses the epoch.
"""

import argparse
import math
import time
from collections import defaultdict
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import numpy as np

from benchmarks.advisor.cell import Cell, Record, read
from benchmarks.advisor.grid import BATCH, Grid, key
from benchmarks.advisor.targets import TARGETS
from tlpipe.strategies.plan import Plan
from tlpipe.strategies.scale import FEWEST, MOST, STEPS, Scale
from tlpipe.strategies.unfreeze import AllLayers

RULE = "the rule"
SETTINGS = {RULE: (MOST, 1), f"{MOST // 3} epochs at most": (MOST // 3, 1), f"{3 * MOST} epochs at most": (3 * MOST, 1),
            "three times the rate": (MOST, 3)}  # fmt: skip
"""By name: most epochs, factor on the rate."""


class Auto(Grid):
    """The grid's machinery with settings of the rule in the place of strategies."""

    def __init__(self, folder: Path, deadline: float) -> None:
        super().__init__(folder, deadline)
        self.file = folder / "auto.jsonl"
        self.done = {key(record) for record in read(self.file)}

    def _plan(self, cell: Cell, name: str, lr: float) -> Plan:
        scale = Scale(samples=len(cell.packed.rows("train")), batch_size=BATCH)
        most, factor = SETTINGS[name]
        epochs = min(most, max(FEWEST, math.ceil(STEPS / math.ceil(scale.count / BATCH))))
        strategy = AllLayers(kind="all_layers", lr=factor * scale.lr("all"), rho=scale.rho(), stages=1, epochs=epochs)
        return strategy.plan(self.bench.source(cell.target.backbone)[0].groups)


def table(lines: list[Record]) -> Iterator[str]:
    """By size: mean accuracy of each setting, and by how much it differs from the rule (points, standard error)."""
    cells: dict[tuple[int, str, int], dict[str, float]] = defaultdict(dict)
    for line in lines:
        cells[line["size"], line["target"], line["seed"]][line["strategy"]] = 100 * line["test"]
    yield "| labels a class | cells (targets) | the rule | " + " | ".join(list(SETTINGS)[1:]) + " |"
    yield f"|---|---|{'---|' * len(SETTINGS)}"
    whole = {cell: found for cell, found in cells.items() if set(SETTINGS) <= set(found)}
    for size in sorted({cell[0] for cell in whole}):
        own = {cell: found for cell, found in whole.items() if cell[0] == size}
        base = np.array([found[RULE] for found in own.values()])
        others = [np.array([found[name] for found in own.values()]) - base for name in list(SETTINGS)[1:]]
        said = [f"{each.mean():+.2f} ± {each.std(ddof=1) / math.sqrt(len(each)):.2f}" for each in others]
        yield f"| {size} | {len(own)} ({len({cell[1] for cell in own})}) | {base.mean():.1f} | {' | '.join(said)} |"


def main() -> None:
    """Train what is missing, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--minutes", type=float, default=1e6)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--sizes", default="8,32")
    parser.add_argument("--targets", default=",".join(target.name for target in TARGETS if target.fitted))
    asked = parser.parse_args()
    auto = Auto(asked.out, time.time() + 60 * asked.minutes)
    chosen = [target for target in TARGETS if target.fitted and target.name in asked.targets.split(",")]
    for seed, size, target in product(range(asked.seeds), map(int, asked.sizes.split(",")), chosen):
        auto.run(target, size, seed, tuple(SETTINGS))
    print(*table(read(auto.file)), sep="\n")


if __name__ == "__main__":
    main()
