"""The table: regret, hit rate and cost of every policy, from whatever cells exist.

    python -m benchmarks.advisor.analyse OUT [--oracle own] [--write benchmarks/advisor/RESULTS.md]

Regret is the oracle's test accuracy minus the policy's, in points. The oracle is cross-fitted: for each seed of a
(target, size) the best strategy is the one with the highest mean test accuracy over its *other* seeds, so a lucky test
score cannot choose itself; regret can be negative. Cells whose (target, size) has one seed so far are left out, but for
`--oracle own`, which takes the best strategy of the cell itself and so makes every regret too large. Cost is
the training time of all that a policy trains, relative to one fine-tuning of all layers in the same cell.
"""

import argparse
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.advisor.fit import Cell, Outcome, allowed, evidences, fit_all, outcomes
from benchmarks.advisor.grid import ENDING, FROZEN, FULL
from benchmarks.advisor.policies import Case, Policy, above, always, raced, searched, single, table
from benchmarks.advisor.targets import TARGETS
from benchmarks.advisor.tuning import ends, regrets
from tlpipe.advise.experience import Experience, load_experience

ALL = (*FROZEN, *FULL)
DRAWS = 2000
POINT = 0.01


class Row(NamedTuple):
    """One policy on one set of cells; regrets in points."""

    mean: float
    low: float
    high: float
    median: float
    p90: float
    worst: float
    hits: float
    cost: float


def own_oracle(cells: Mapping[Cell, Mapping[str, Outcome]]) -> dict[Cell, float]:
    """The best test accuracy in every cell: biased up by its luck."""
    return {cell: max(found[name].test for name in ALL) for cell, found in cells.items()}


def oracle(cells: Mapping[Cell, Mapping[str, Outcome]]) -> dict[Cell, float]:
    """The cross-fitted oracle's test accuracy in every cell whose target and size have at least two seeds."""
    groups: dict[tuple[str, int], list[Cell]] = defaultdict(list)
    for cell in cells:
        groups[cell[0], cell[1]].append(cell)
    found = {}
    for group in groups.values():
        for cell in group:
            others = [cells[other] for other in group if other != cell]
            if others:
                best = max(ALL, key=lambda name: float(np.mean([other[name].test for other in others])))
                found[cell] = cells[cell][best].test
    return found


def judge(policy: Policy, cases: Sequence[Case], best: Mapping[Cell, float]) -> Row:
    """All figures of one policy; the interval is a bootstrap over targets, which are what generalises."""
    regrets: dict[str, list[float]] = defaultdict(list)
    costs = []
    for case in cases:
        choice = policy(case)
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
        float(values.max()), float((values <= 100 * POINT).mean()), float(np.mean(costs)),
    )  # fmt: skip


def policies(cases: Sequence[Case], fitted: Sequence[Case], best: Mapping[Cell, float]) -> dict[str, Policy]:
    """By name, as in the table."""
    fixed = {name: judge(always(name), cases, best).mean for name in ALL}
    hindsight = min(fixed, key=lambda name: fixed[name])
    found: dict[str, Policy] = {
        "advisor, single pick": single,
        "advisor, race": raced,
        **{f"always {name}": always(name) for name in ALL},
        f"best fixed in hindsight ({hindsight})": always(hindsight),
        "static table, task fit": table(),
        "static table, kNN above its median": table(above("knn", fitted)),
        "static table, LogME above its median": table(above("logme", fitted)),
        "train both: all_depth_head, all_layers": searched(("all_depth_head", "all_layers")),
        "train three: with scratch": searched(("all_depth_head", "all_layers", "scratch")),
        "full search": searched(ALL),
    }
    if all("bit" in case.outcomes for case in cases):
        found["BiT-HyperRule"] = always("bit")
    return found


def render(folder: Path, crossfitted: bool = True) -> str:
    """The tables as Markdown."""
    experience, known = load_experience(), evidences(folder)
    others = left_out_rules(folder)
    cells = {cell: found for cell, found in outcomes(folder).items() if set(ALL) <= set(found) and cell in known}
    best = oracle(cells) if crossfitted else own_oracle(cells)
    cases = [Case(cell, cells[cell], *known[cell], others.get(cell[0], experience)) for cell in sorted(best)]
    half = {target.name: target.fitted for target in TARGETS}
    fitted = [case for case in cases if half[case.cell[0]]]
    unseen = [case for case in cases if not half[case.cell[0]]]
    lines = [
        f"Oracle: {'cross-fitted' if crossfitted else 'the best of the seed itself, so regrets are too large'}.",
        f"Rules fitted on {experience.cells} cells of {', '.join(experience.targets)}.",
        *_table("Unseen targets", unseen, fitted, best),
        *_table("Fitting half, each target with rules fitted on the other ones", fitted, fitted, best),
        *regrets(cases, best),
        *ends(folder),
        *_means(cases),
    ]
    return "\n".join(lines) + "\n"


def left_out_rules(folder: Path) -> dict[str, Experience]:
    """For each target of the fitting half the rules that are fitted on the other ones."""
    cells, known = allowed(folder)
    return {
        name: fit_all(
            {cell: found for cell, found in cells.items() if cell[0] != name},
            {cell: found for cell, found in known.items() if cell[0] != name},
        )[0]
        for name in sorted({cell[0] for cell in cells})
    }


def _table(title: str, cases: Sequence[Case], fitted: Sequence[Case], best: Mapping[Cell, float]) -> list[str]:
    if not cases:
        return [f"\n**{title}**: no target and size has two seeds yet."]
    names = sorted({case.cell[0] for case in cases})
    rows = [
        f"| {name} | {row.mean:+.2f} [{row.low:+.2f}, {row.high:+.2f}] | {row.median:+.2f} | {row.p90:+.2f} | "
        f"{row.worst:+.1f} | {row.hits:.0%} | {row.cost:.2f} |"
        for name, policy in policies(cases, fitted, best).items()
        for row in [judge(policy, cases, best)]
    ]
    return [
        f"\n**{title}**: {len(cases)} cells of {len(names)} targets ({', '.join(names)})\n",
        "| policy | mean regret [95 % over targets] | median | p90 | worst | within 1 point | cost |",
        "|---|---|---|---|---|---|---|",
        *rows,
    ]


def _means(cases: Sequence[Case]) -> list[str]:
    groups: dict[tuple[str, int], list[Case]] = defaultdict(list)
    for case in cases:
        groups[case.cell[0], case.cell[1]].append(case)
    shown = (*ALL, *ENDING[:1])
    lines = [f"\n**Mean test accuracy**\n\n| target, labels a class, seeds | {' | '.join(shown)} | advised |",
             f"|---|{'---|' * (len(shown) + 1)}"]  # fmt: skip
    for (target, size), group in sorted(groups.items()):
        means = [_mean([case.outcomes[name].test for case in group if name in case.outcomes]) for name in shown]
        advised = sorted({case.advice()[0].recommended.name for case in group})
        lines.append(f"| {target}, {size}, {len(group)} | {' | '.join(means)} | {', '.join(advised)} |")
    return lines


def _mean(values: Sequence[float]) -> str:
    return f"{np.mean(values):.3f}" if values else "-"


def main() -> None:
    """Print the tables, and write them where they are committed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--write", type=Path)
    parser.add_argument("--oracle", choices=["crossfitted", "own"], default="crossfitted")
    asked = parser.parse_args()
    text = render(asked.out, asked.oracle == "crossfitted")
    print(text)
    if asked.write:
        before = asked.write.read_text().partition("<!-- analyse -->")[0] if asked.write.is_file() else ""
        asked.write.write_text(f"{before}<!-- analyse -->\n{text}")


if __name__ == "__main__":
    main()
