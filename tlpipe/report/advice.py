"""The advice on the page: the ranking as it was given, what the strategies then reached, and the learning curve."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from tlpipe.advise.scores import Score, assumption
from tlpipe.evaluate.figures import style
from tlpipe.report.figures import VARIABLES, inline_svg
from tlpipe.tasks import facet

FILE = "reports/advice.json"


def advice_facts(root: Path, comparison: Mapping[str, Any], task: str) -> dict[str, Any] | None:
    """reports/advice.json with the test figure that each strategy reached (None = not run) and the curve as SVG.

    `reached_metric` is the figure that was predicted; where evaluations do not have it, the one that strategies are
    compared by, and `same` is false. None where the advise stage has not been.
    """
    path = root / FILE
    if not path.is_file():
        return None
    advice: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    score: Score = facet(task, "advice:SCORE")
    metric = score.test or comparison["metric"]
    tests = {name: entry["seeds"]["test"] for name, entry in comparison["strategies"].items()}
    reached = {name: each.get(metric, {}).get("mean") for name, each in tests.items()}
    ranking = [{**row, "reached": reached.get(row["strategy"])} for row in advice["ranking"]]
    curve = inline_svg(curve_figure(advice["evidence"]["learning_curve"], score), "learning curve of a frozen probe")
    about = {"title": score.title, "samples": score.samples, "reached_metric": metric, "same": score.test is not None}
    note = assumption(score) if score.doubt > 1 else None
    about["backbone"] = advice.get("backbone")
    return {**advice, **about, "ranking": ranking, "curve": curve, "assumption": note}


def curve_figure(points: list[dict[str, Any]], score: Score) -> Figure:
    """The score of the frozen probe over labelled samples; what is extrapolated is dashed, bands are 90 %."""
    figure = Figure(figsize=(7.2, 2.6), layout="constrained")
    axes = figure.add_subplot()
    samples = [point["samples"] for point in points]
    known = [point for point in points if point["measured"]]
    ahead = [point for point in points if not point["measured"]]
    low, high = ([point[side] for point in points] for side in ("low", "high"))
    axes.fill_between(samples, low, high, color=VARIABLES.accent, alpha=0.18, linewidth=0)
    for part, line in ((known, "-o"), ([*known[-1:], *ahead], "--")):
        places, values = [point["samples"] for point in part], [point["accuracy"] for point in part]
        axes.plot(places, values, line, color=VARIABLES.accent, markersize=4, linewidth=1.6)
    style(axes, VARIABLES)
    axes.set_xscale("log")
    axes.set_xticks(samples, [f"{count:,}" for count in samples])
    axes.minorticks_off()
    axes.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:.4g} %"))
    axes.set_xlabel(f"labelled {score.samples}", fontsize=9)
    return figure
