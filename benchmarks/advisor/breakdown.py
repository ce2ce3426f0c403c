"""Regret by the number of labels, and how much the test split's own luck is in it."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import product

import numpy as np

from benchmarks.advisor.fit import Cell, Outcome
from benchmarks.advisor.policies import Case, Policy, always, raced, single
from benchmarks.advisor.regret import PLAIN, halved, judge, oracle
from benchmarks.advisor.targets import SIZES, TARGETS

SHOWN: dict[str, Policy] = {
    "single pick": single, "race": raced, **{name: always(name) for name in ("all_depth_head", "all_layers")},
}  # fmt: skip


def by_size(cases: Sequence[Case], oracles: Mapping[str, Mapping[Cell, float]]) -> Iterator[str]:
    """Mean regret and cost of the main policies by half, size and oracle, on the cells that the oracle knows."""
    yield "\n**By labels a class**: mean regret in points (cost); the own oracle is too good by its luck\n"
    yield f"| half, labels a class | oracle | cells (targets) | {' | '.join(SHOWN)} |"
    yield f"|---|---|---|{'---|' * len(SHOWN)}"
    half = {target.name: target.fitted for target in TARGETS}
    for (title, fitted), size, (name, best) in product((("unseen", False), ("fitting", True)), SIZES, oracles.items()):
        own = [case for case in cases if half[case.cell[0]] == fitted and case.cell[1] == size and case.cell in best]
        if own:
            rows = [judge(policy, own, best) for policy in SHOWN.values()]
            count = f"{len(own)} ({len({case.cell[0] for case in own})})"
            found = " | ".join(f"{row.mean:+.2f} ({row.cost:.2f})" for row in rows)
            yield f"| {title}, {size} | {name} | {count} | {found} |"


def halves(cells: Mapping[Cell, Mapping[str, Outcome]]) -> Iterator[str]:
    """How much lower the oracle is where it may not profit from the luck of the test split that all seeds share."""
    crossed, plain = halved(cells), oracle(cells, PLAIN)
    if crossed:
        lower = [100 * (plain[cell] - value) for cell, value in crossed.items()]
        yield (
            f"\nAn oracle chosen on one half of the test split and scored on the other is {np.mean(lower):.2f} "
            f"points lower, {np.max(lower):.2f} at most ({len(lower)} cells whose halves were recorded)."
        )
