"""Questions that the benchmarks answer: for each the claims, figures and goals of one table in benchmarks/README.md.

A goal without a committed figure is shown as such. Figures are read from benchmarks/results/*.json and nowhere else.
"""

import json
import math
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from benchmarks.accuracy import table as accuracy
from benchmarks.peers.goals import GOALS, SCENARIOS
from benchmarks.report.provenance import RESULTS

NONE = "no committed result"
METHODS = {
    "logistic": "logistic regression on sentence embeddings",
    "setfit": "SetFit",
    "tf_idf": "TF-IDF",
}
Results = dict[str, Any]


class Claim(NamedTuple):
    """One row: what is claimed, what was measured, and what was aimed at."""

    claim: str
    figure: str
    goal: str = "none set"
    met: str = "-"

    def row(self) -> str:
        """Line of a Markdown table."""
        return f"| {' | '.join(self)} |"


class Question(NamedTuple):
    """One table."""

    title: str
    results: tuple[str, ...]
    """Names of files in benchmarks/results, without suffix; `claims` gets the content of the first."""
    claims: Callable[[Results], Iterator[Claim]]


def read(name: str) -> Results:
    """Content of a results file; empty where there is none."""
    path = RESULTS / f"{name}.json"
    results: Results = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return results


def images(results: Results) -> Iterator[Claim]:
    """Test accuracy with few labels, in points over rivals; claims without a figure are counted in the last row."""
    missing = 0
    for line in [*accuracy.claims(results["cells"])][2:]:
        claim, figure, goal, met = (cell.strip() for cell in line.strip("|").split("|"))
        if figure == accuracy.MISSING:
            missing += 1
            continue
        yield Claim(claim.replace("peer:", ""), figure, goal or "none set", met or "-")
    yield Claim("other numbers of labels, rivals and sets", f"{missing} goals: {NONE}", "as above", "no")


def texts(results: Results) -> Iterator[Claim]:
    """Test accuracy of MiniLM's head with few labels, in points over other methods, with 95 % intervals by draw."""
    figures: dict[tuple[str, int, str], list[str]] = defaultdict(list)
    for cell, methods in sorted(results.items()):
        name, labels, _ = cell.split()
        for method, answer in methods.items():
            if method != "tlpipe":
                points = difference(methods["tlpipe"]["right"], answer["right"])
                figures[name, int(labels), method].append(_points(*points))
    for (name, size, method), draws in sorted(figures.items()):
        claim = f"MiniLM's head over {METHODS[method]}: {name}, {size} a class"
        yield Claim(claim, ", ".join(draws) + " points")


def _points(value: float, low: float, high: float) -> str:
    return f"{value:+.1f} [{low:+.1f}, {high:+.1f}]"


def difference(ours: str, theirs: str) -> tuple[float, float, float]:
    """Difference of two accuracies in points with its 95 % interval (Bonett and Price 2012), from 0/1 a sample."""
    won = sum(a > b for a, b in zip(ours, theirs, strict=True))
    lost = sum(a < b for a, b in zip(ours, theirs, strict=True))
    size = len(ours) + 2
    mean = (won - lost) / size
    half = 1.96 * math.sqrt(((won + lost + 2) / size - mean**2) / size)
    return 100 * (won - lost) / len(ours), 100 * (mean - half), 100 * (mean + half)


def recipes(results: Results) -> Iterator[Claim]:
    """Test figure of each recipe's champion, and its lead over the others."""
    for name, recipe in results.items():
        champion = recipe["champion"]
        figure = recipe["strategies"][champion]
        about = f"{name}, {recipe['labels']} labels, {recipe['test']} test samples"
        interval = f"{figure['value']:.3f} [{figure['low']:.3f}, {figure['high']:.3f}]"
        yield Claim(f"{about}: {recipe['metric']} of the champion, {champion}", interval)
        gaps = [
            f"{other} {_points(100 * gap['value'], 100 * gap['low'], 100 * gap['high'])}"
            for other, gap in sorted(recipe["test_differences"].items())
        ]
        yield Claim(f"{name}: {champion} over the others, points on test", ", ".join(gaps))


def intervals(results: Results) -> Iterator[Claim]:
    """Coverage of 95 % intervals, and error rates of the decisions that rest on them."""
    for row in results["Proportions (exact; over shares of 0.5 to 0.995)"]:
        if row["method"] == "mid-P" and row["n"] in (20, 100):
            figure = f"mean {row['coverage']:.3f}, least {row['least']:.3f}"
            met = "yes" if row["coverage"] >= 0.95 else "no"
            yield Claim(f"coverage of accuracy's interval, {row['n']} samples", figure, "mean ≥ 0.95", met)
    called = max(row["called"] for row in results["Two equally good models, called different"])
    yield Claim("equal models called different", f"at most {called:.3f}", "≤ 0.05", "yes" if called <= 0.05 else "no")
    gate = [row for row in results["The gate of variants, 0.02 allowed"] if row["loss"] >= 0.02]
    passed = max(row["passes"] for row in gate)
    claim = "variants that lose 2 points or more and pass the gate"
    yield Claim(claim, f"at most {passed:.3f}", "≤ 0.05", "yes" if passed <= 0.05 else "no")


def averages(results: Results) -> Iterator[Claim]:
    """Gain of averaging heads over penalties and tilts."""
    by_strategy: dict[str, list[str]] = defaultdict(list)
    for name, gain in results["gains"].items():
        strategy, how = name.split(".")
        by_strategy[strategy].append(f"{how} {gain['mean']:+.2f} ± {gain['standard error']:.2f}")
    for strategy, figures in by_strategy.items():
        yield Claim(f"{strategy}: average over the chosen head, points", ", ".join(figures))


def fold_costs(results: Results) -> Iterator[Claim]:
    """Processor time with folds and a refit over that with one split."""
    for strategy, row in results["strategies"].items():
        figure = f"{row['ratio']:.2f} ({row['folds']:.1f} s / {row['one split']:.1f} s)"
        met = "yes" if row["ratio"] <= row["goal"] else "no"
        yield Claim(
            f"{strategy}: processor time with 5 folds and a refit / one split", figure, f"≤ {row['goal']:g}", met
        )


def abuse(results: Results) -> Iterator[Claim]:
    """Outcome of mutated requests to the server, by task, and of the parts of `make abuse`."""
    for task, outcome in results.items():
        broken = sum(count for status, count in outcome["answers"].items() if int(status) >= 500)
        figure = f"{outcome['requests']:,} requests: {broken} answers of 5xx, {len(outcome['bad'])} faults"
        yield Claim(f"benchmarks.serve.fuzz, {task}", figure, "0 and 0", "no" if broken or outcome["bad"] else "yes")
    for part, outcome in read("abuse").items():
        figure = f"{outcome['cases']:,} cases: {len(outcome['faults'])} faults"
        yield Claim(f"make abuse, {part}", figure, "0", "no" if outcome["faults"] else "yes")


def peers(results: Results) -> Iterator[Claim]:
    """Seconds of tlpipe over those of other tools."""
    for (scenario, side), goal in GOALS.items() if results else ():
        verdict = results["verdicts"].get(scenario, {}).get(side, {})
        ratio = verdict.get("ratio")
        figure, met = (NONE, "no") if ratio is None else (f"{ratio:.3f}", "yes" if verdict["met"] else "no")
        yield Claim(f"seconds of tlpipe / {side}: {SCENARIOS[scenario]}", figure, f"≤ {goal:.3f}", met)
    if not results:
        yield Claim("seconds of tlpipe over those of five other tools", NONE, f"{len(GOALS)} ratios", "no")


QUESTIONS = (
    Question("How accurate is what ships, with few labelled images?", ("accuracy",), images),
    Question("And with few labelled texts?", ("few",), texts),
    Question("What do the recipes of the two demos reach?", ("recipes",), recipes),
    Question("Are the intervals worth their name?", ("intervals",), intervals),
    Question("Does averaging heads gain anything over choosing one?", ("averages",), averages),
    Question("What does cross-fitting cost?", ("fold_costs",), fold_costs),
    Question("Does the server stand hostile requests?", ("fuzz", "abuse"), abuse),
    Question("How fast is a training beside other tools, on a CPU?", ("peers",), peers),
)
