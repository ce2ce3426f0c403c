"""Which epoch a training ends with, on the fitting half: rules for ties on small validation splits, compared on test.

    python -m benchmarks.advisor.best OUT [--minutes 60] [--seeds 2] [--targets count,cifar10] [--strategies top_layers]

Restartable like the grid, a JSON line a training in OUT/best.jsonl. Trainings are those of `rates` with the rate of
`auto`; the rules are in force in every phase. Whatever the rule, the start is scored before the first step and is the
best until an epoch takes its place.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from unittest.mock import patch

from benchmarks.advisor.cell import Cell, Record, read
from benchmarks.advisor.grid import key
from benchmarks.advisor.rates import HEAD, RULE, Rates, table
from benchmarks.advisor.targets import TARGETS
from tlpipe.strategies.plan import Plan
from tlpipe.tasks.base import Scores
from tlpipe.train.trainer.weight_averaging import rank, verdict_on

Verdict = Callable[[Scores, Scores, str], int]


def later(scores: Scores, best: Scores, monitor: str) -> int:
    """The trainer's own rule: of equally good epochs the later one."""
    return verdict_on(scores, best, monitor)


def by_loss(scores: Scores, best: Scores, monitor: str) -> int:
    """Of equally good epochs the one with the lower validation loss."""
    new, old = rank(scores, monitor), rank(best, monitor)
    return (new > old) - (new < old)


def start_stays() -> Verdict:
    """The later one, but the start gives way only to a better one."""
    start: list[Scores] = []

    def verdict(scores: Scores, best: Scores, monitor: str) -> int:
        start[:] = start or [best]
        found = verdict_on(scores, best, monitor)
        return -1 if found == 0 and best is start[0] else found

    return verdict


RULES: dict[str, Callable[[], Verdict]] = {
    "later": lambda: later,
    "loss": lambda: by_loss,
    "start": start_stays,
    "wise_ft": lambda: later,
}
"""`wise_ft` is the rule `later` and then the interpolation towards the start."""


class Best(Rates):
    """The grid's machinery with a strategy and a rule in the place of a strategy."""

    def __init__(self, folder: Path, deadline: float) -> None:
        super().__init__(folder, deadline)
        self.file = folder / "best.jsonl"
        self.done = {key(record) for record in read(self.file)}

    def _plan(self, cell: Cell, name: str, lr: float) -> Plan:
        kind, rule = name.split()
        return super()._plan(cell, f"{kind} {RULE}", lr).model_copy(update={"wise_ft": rule == "wise_ft"})

    def _train(self, cell: Cell, name: str, lr: float) -> Record:
        with patch("tlpipe.train.trainer.checkpoint_selection.verdict_on", RULES[name.split()[1]]()):
            return super()._train(cell, name, lr)


def ruled(lines: list[Record], strategy: str) -> Iterator[str]:
    """What the other rules and the head alone differ from the trainer's own by."""
    first, *others = (f"{strategy} {rule}" for rule in RULES)
    yield from table(lines, strategy, "later", first, [*others, HEAD])


def main() -> None:
    """Train what is missing, then print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--minutes", type=float, default=1e6)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--sizes", default="8,32")
    parser.add_argument("--targets", default=",".join(target.name for target in TARGETS if target.fitted))
    parser.add_argument("--strategies", default="top_layers,all_layers")
    asked = parser.parse_args()
    best, strategies = Best(asked.out, time.time() + 60 * asked.minutes), asked.strategies.split(",")
    names = (HEAD, *(f"{strategy} {rule}" for strategy in strategies for rule in RULES))
    chosen = [target for target in TARGETS if target.fitted and target.name in asked.targets.split(",")]
    for seed, size, target in product(range(asked.seeds), map(int, asked.sizes.split(",")), chosen):
        best.run(target, size, seed, names)
    for strategy in strategies:
        print(*ruled(read(best.file), strategy), sep="\n")


if __name__ == "__main__":
    main()
