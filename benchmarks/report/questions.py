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
    """Test accuracy with few labels, in points over rivals; a row for the plain loop and one for the other tools."""
    tools: dict[str, list[Claim]] = defaultdict(list)
    errors: list[str] = []
    missing = 0
    for line in [*accuracy.claims(results["cells"])][2:]:
        row = Claim(*(cell.strip() for cell in line.strip("|").split("|")))
        if row.figure == accuracy.MISSING:
            missing += 1
        elif " over peer:" in row.claim:
            ours, rest = row.claim.split(" over peer:")
            tool, labels = rest.split(",", 1)
            short = f"{tool} {row.figure.split(';')[0].replace(' (', ', ')}"
            tools[f"{ours} over other tools,{labels}"].append(row._replace(claim=short))
        elif row.claim.startswith("out-of-fold"):
            errors.append(f"{row.claim.rpartition(': ')[2]} {row.figure}")
        else:
            yield row
    for claim, rows in tools.items():
        met = "yes" if all(row.met == "yes" for row in rows) else "no"
        yield Claim(claim, "; ".join(row.claim for row in rows), rows[0].goal, met)
    yield Claim("out-of-fold accuracy minus test of what ships, points", "; ".join(errors), "half of a split's RMS")
    yield Claim("other numbers of labels, rivals and sets", f"{missing} goals: {NONE}", "as above", "no")


def texts(results: Results) -> Iterator[Claim]:
    """Test accuracy of MiniLM's head with few labels, in points over other methods, by labels a class and draw."""
    figures: dict[tuple[str, str], dict[int, list[str]]] = defaultdict(lambda: defaultdict(list))
    for cell, methods in sorted(results.items()):
        name, labels, _ = cell.split()
        for method, answer in methods.items():
            if "not_done_after" in answer:
                figures[name, method][int(labels)].append(f"not done after {answer['not_done_after']:g} s")
            elif method != "tlpipe":
                points = difference(methods["tlpipe"]["right"], answer["right"])
                figures[name, method][int(labels)].append(_points(*points))
    for (name, method), by_labels in sorted(figures.items()):
        shown = "; ".join(f"{labels} a class: {', '.join(draws)}" for labels, draws in sorted(by_labels.items()))
        yield Claim(f"MiniLM's head over {METHODS[method]}, points: {name}", shown)


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


def fold_costs(results: Results) -> Iterator[Claim]:
    """Processor time with folds and a refit over that with one split."""
    for strategy, row in results["strategies"].items():
        figure = f"{row['ratio']:.2f} ({row['folds']:.1f} s / {row['one split']:.1f} s)"
        met = "yes" if row["ratio"] <= row["goal"] else "no"
        yield Claim(
            f"{strategy}: processor time with 5 folds and a refit / one split", figure, f"≤ {row['goal']:g}", met
        )


def averages(results: Results) -> Iterator[Claim]:
    """Gain of averaging heads over penalties and tilts."""
    by_strategy: dict[str, list[str]] = defaultdict(list)
    for name, gain in results["gains"].items():
        strategy, how = name.split(".")
        by_strategy[strategy].append(f"{how} {gain['mean']:+.2f} ± {gain['standard error']:.2f}")
    figures = "; ".join(f"{strategy}: {', '.join(gains)}" for strategy, gains in by_strategy.items())
    yield Claim("average of heads over the chosen head, points", figures)


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
