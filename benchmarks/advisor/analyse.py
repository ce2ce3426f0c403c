"""The table: regret, hit rate and cost of every policy, from whatever cells exist.

    python -m benchmarks.advisor.analyse OUT [--oracle own] [--write benchmarks/advisor/RESULTS.md]

Regret is the oracle's test accuracy minus the policy's, in points. The oracle is cross-fitted: for each seed of a
(target, size) the best strategy is the one with the highest mean test accuracy over its *other* seeds, so a lucky test
score cannot choose itself; regret can be negative. All seeds share a test split, whose luck is crossed out only where
its halves were recorded (`halved`). Cells whose (target, size) has one seed so far are left out, but for
`--oracle own`, which takes the best strategy of the cell itself and so makes every regret too large. Cost is
the training time of all that a policy trains, relative to one fine-tuning of all layers in the same cell.
"""

import argparse
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from benchmarks.advisor.breakdown import by_size, halves
from benchmarks.advisor.fit import Cell, allowed, evidences, fit_all, outcomes
from benchmarks.advisor.policies import Case, Policy, above, always, race_only, raced, searched, single, table
from benchmarks.advisor.regret import ALL, CONSTANT, judge, oracle, own_oracle
from benchmarks.advisor.targets import TARGETS
from benchmarks.advisor.tuning import ends, regrets
from tlpipe.advise.experience import Experience, load_experience


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
        "race only, without advice": race_only,
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
    every = [Case(cell, cells[cell], *known[cell], others.get(cell[0], experience)) for cell in sorted(cells)]
    cases = [case for case in every if case.cell in best]
    half = {target.name: target.fitted for target in TARGETS}
    fitted = [case for case in cases if half[case.cell[0]]]
    unseen = [case for case in cases if not half[case.cell[0]]]
    lines = [
        f"Oracle: {'cross-fitted' if crossfitted else 'the best of the seed itself, so regrets are too large'}.",
        f"Rules fitted on {experience.cells} cells of {', '.join(experience.targets)}.",
        *_table("Unseen targets", unseen, fitted, best),
        *_table("Fitting half, each target with rules fitted on the other ones", fitted, fitted, best),
        *by_size(every, {"cross-fitted": oracle(cells), "own": own_oracle(cells)}),
        *halves(cells),
        *_bit("Unseen targets", unseen, fitted, best),
        *_bit("Fitting half", fitted, fitted, best),
        *regrets(cases, best),
        *ends(folder),
        *_means(every),
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
        f"{row.worst:+.1f} | {row.hits:.0%} | {row.better} / {row.worse} | {row.cost:.2f} |"
        for name, policy in policies(cases, fitted, best).items()
        for row in [judge(policy, cases, best)]
    ]
    return [
        f"\n**{title}**: {len(cases)} cells of {len(names)} targets ({', '.join(names)})\n",
        "| policy | mean regret [95 % over targets] | median | p90 | worst | within 1 point | "
        f"better / worse than {CONSTANT} | cost |",
        "|---|---|---|---|---|---|---|---|",
        *rows,
    ]


def _bit(title: str, cases: Sequence[Case], fitted: Sequence[Case], best: Mapping[Cell, float]) -> list[str]:
    """The table on the cells where BiT-HyperRule was run."""
    own = [case for case in cases if "bit" in case.outcomes]
    return _table(f"{title} where BiT-HyperRule was run", own, fitted, best) if own else []


def _means(cases: Sequence[Case]) -> list[str]:
    groups: dict[tuple[str, int], list[Case]] = defaultdict(list)
    for case in cases:
        groups[case.cell[0], case.cell[1]].append(case)
    shown = (*ALL, "bit")
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
