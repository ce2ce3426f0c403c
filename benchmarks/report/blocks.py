"""Blocks of figures in Markdown files: `<!-- figures: NAME -->` to `<!-- end of figures -->`, filled from results."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from benchmarks.accuracy import table as accuracy
from benchmarks.accuracy.sets import HELD_OUT
from benchmarks.report.questions import read

BLOCK = re.compile(r"(<!-- figures: (?P<name>[a-z_ ]+) -->\n).*?(<!-- end of figures -->)", re.DOTALL)


def filled(text: str) -> str:
    """The text with each block made anew. Raises KeyError for a block that nothing fills."""

    def block(match: re.Match[str]) -> str:
        return f"{match[1]}{chr(10).join(BLOCKS[match['name']]())}\n{match[3]}"

    return BLOCK.sub(block, text)


def without(text: str) -> str:
    """The text without its blocks."""
    return BLOCK.sub("", text)


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Lines of a Markdown table."""
    yield f"| {' | '.join(heads)} |"
    yield f"|{'---|' * len(heads)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def _recipe(name: str) -> Iterator[str]:
    recipe = read("recipes")[name]
    rows = []
    for strategy, figure in sorted(recipe["strategies"].items(), key=lambda item: -item[1]["value"]):
        shown = f"**{strategy}** (champion)" if strategy == recipe["champion"] else strategy
        test = f"{figure['value']:.3f} [{figure['low']:.3f}, {figure['high']:.3f}]"
        rows.append([shown, f"{figure['held_out']:.3f}", test])
    heads = ("strategy", f"accuracy out of fold, {recipe['labels']:,} samples", f"on test, {recipe['test']:,} samples")
    return table(heads, rows)


def _proportions() -> Iterator[str]:
    by_method: dict[str, dict[int, dict[str, Any]]] = defaultdict(dict)
    for row in read("intervals")["Proportions (exact; over shares of 0.5 to 0.995)"]:
        by_method[row["method"]][row["n"]] = row
    sizes = (20, 50, 100, 300)
    rows = [
        [method, *(f"{at[n]['coverage']:.3f}, {at[n]['least']:.3f}, {at[n]['width']:.3f}" for n in sizes)]
        for method, at in by_method.items()
    ]
    return table(("", *(f"n = {n}" for n in sizes)), rows)


def _groups() -> Iterator[str]:
    every = [
        row for row in read("intervals")["Accuracy of samples in groups"] if (row["groups"], row["each"]) == (20, 15)
    ]
    accuracies = sorted({row["accuracy"] for row in every})
    rows = []
    for correlation in sorted({row["correlation"] for row in every}):
        at = {row["accuracy"]: row for row in every if row["correlation"] == correlation}
        lone = [row["without groups"] for row in at.values()]
        rows.append([f"{correlation:g}", *(f"{at[a]['coverage']:.3f}" for a in accuracies), _span(lone)])
    heads = ("correlation within a group", *(f"accuracy {a:g}" for a in accuracies), "without groups")
    return table(heads, rows)


def _metrics() -> Iterator[str]:
    results = read("intervals")
    by_metric: dict[str, dict[int, list[dict[str, Any]]]] = defaultdict(lambda: defaultdict(list))
    for row in results["Other metrics"]:
        by_metric[row["metric"]][row["n"]].append(row)
    for row in results["Entity F1"]:
        by_metric["entity_f1"][row["sentences"]].append(row)
    sizes = (20, 50, 200)
    rows = [
        [metric, *(f"{_span(r['coverage'] for r in at[n])} ({_span(r['before'] for r in at[n])})" for n in sizes)]
        for metric, at in by_metric.items()
    ]
    return table(("metric", *(f"n = {n}" for n in sizes)), rows)


def _span(values: Any) -> str:
    low, *_, high = [f"{value:.2f}" for value in sorted(values)] * 2
    return low if low == high else f"{low} to {high}"


def _accuracy() -> Iterator[str]:
    return accuracy.table(read("accuracy")["cells"], HELD_OUT)


BLOCKS: dict[str, Callable[[], Iterator[str]]] = {
    "solar_cells": lambda: _recipe("solar_cells"),
    "text_classification": lambda: _recipe("text_classification"),
    "proportions": _proportions,
    "groups": _groups,
    "metrics": _metrics,
    "accuracy": _accuracy,
}
