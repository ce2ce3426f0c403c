"""Figures of the report as inline SVG whose colours are CSS variables, so that they follow the reader's theme."""

import io
import re
import warnings
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

import matplotlib as mpl
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator
from matplotlib.transforms import Transform

from tlpipe.evaluate.figures import Theme, cut, style
from tlpipe.evaluate.judged import title
from tlpipe.report import text
from tlpipe.report.text import PERCENT

VARIABLES = Theme(
    ink="#010203", muted="#010204", grid="#010205", accent="#010206", second="#010207", on_accent="#010208"
)
"""Colours that nothing else uses; `inline_svg` puts `var(--<name>)` in their place."""


def inline_svg(figure: Figure, label: str) -> Markup:
    """The figure as an <svg> element without ids of its own files: themed, scalable, the same bytes every time."""
    buffer = io.StringIO()
    options: Any = {"svg.fonttype": "none", "svg.hashsalt": label}
    with mpl.rc_context(options), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        FigureCanvasSVG(figure)
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = buffer.getvalue()
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    for name, colour in vars(VARIABLES).items():
        svg = svg.replace(colour, f"var(--{name.replace('_', '-')})")
    for pattern, instead in _STRIPPED:
        svg = re.sub(pattern, instead, svg, flags=re.DOTALL)
    # Everything between the tags was escaped by matplotlib.
    return Markup(svg.replace("<svg ", f'<svg role="img" aria-label="{Markup.escape(label)}" ', 1))  # noqa: S704


_STRIPPED = (
    (r"<style.*?</style>", ""),  # would hold for the whole page
    (r'<g id="[^"]*"', "<g"),  # ids that nothing refers to, the same in every figure
    (r"font-family: [^;]*; ", ""),  # the page's font
    (r'(?<=[\d"]) transform="rotate\(-0 [^"]*"', ""),
    (r"\n\s*", "\n"),
)


def comparison_figure(comparison: Mapping[str, Any], metric: str) -> Figure:
    """Each strategy's mean over its trainings, validation and test, the test's 95 % interval, and what it cost."""
    strategies = comparison["strategies"]
    figure = Figure(figsize=(10.6, 0.8 + 0.4 * len(strategies)), layout="constrained")
    axes = figure.add_subplot()
    for row, (name, entry) in enumerate(strategies.items()):
        colour = VARIABLES.accent if name == comparison["champion"] else VARIABLES.muted
        test, validation = (entry["seeds"][split].get(metric) for split in ("test", "validation"))
        if test:
            if test["low"] is not None:
                axes.plot([test["low"], test["high"]], [row, row], color=colour, linewidth=3, alpha=0.45)
            axes.plot([test["mean"]], [row], "o", color=colour, markersize=8)
            single = test["values"] if len(test["values"]) > 1 else []
            axes.plot(single, [row + 0.22] * len(single), ".", color=colour, markersize=5, alpha=0.8)
        axes.text(1.01, row, _cost(entry), va="center", fontsize=8.5, color=VARIABLES.muted, transform=_beside(axes))
        if validation:
            axes.plot([validation["mean"]], [row], "|", color=VARIABLES.second, markersize=14, markeredgewidth=2)
    style(axes, VARIABLES)
    axes.grid(False, axis="y")
    axes.set_yticks(range(len(strategies)), [cut(name) for name in strategies], parse_math=False)
    axes.set_ylim(len(strategies) - 0.4, -0.6)
    axes.margins(x=0.06)
    _percent(axes, metric, "x")
    return figure


def _beside(axes: Axes) -> Transform:
    """Rows in data coordinates, columns in shares of the axes' width."""
    return axes.get_yaxis_transform()


def _cost(entry: Mapping[str, Any]) -> str:
    return f"{text.duration(entry['seconds'])}, {text.compact(entry['trainable_parameters'])} parameters trained"


def _percent(axes: Axes, metric: str, side: str) -> None:
    axis = axes.xaxis if side == "x" else axes.yaxis
    axis.set_major_locator(MaxNLocator(6))
    if metric in PERCENT:
        axis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:.4g} %"))


def curves_figure(history: Sequence[Mapping[str, str]], staged: bool = True) -> Figure:
    """Losses and the validation figure of merit over the epochs; a line where a phase begins, with its name.

    Without `staged` the rows are no epochs but the head stage's penalties, from the strongest to the weakest.
    """
    figure = Figure(figsize=(7.2, 2.9), layout="constrained")
    left, right = figure.subplots(1, 2)
    rows = list(range(1, len(history) + 1))
    figure_of_merit = headline(history[0])
    shown = ("train_loss", "validation_loss", figure_of_merit)
    series = {name: [float(row[name]) for row in history] for name in shown}
    for name, colour in (("train_loss", VARIABLES.second), ("validation_loss", VARIABLES.accent)):
        left.plot(rows, series[name], "-o", color=colour, markersize=3, linewidth=1.6, label=name.split("_")[0])
    right.plot(rows, series[figure_of_merit], "-o", color=VARIABLES.accent, markersize=3, linewidth=1.6)
    left.set(title="loss", ylim=(0, None))
    right.set(title=figure_of_merit.replace("_", " ").replace(" f1", " F1"))
    for axes, height, align in ((left, 0.03, "bottom"), (right, 0.97, "top")):
        _rows_axis(axes, history, staged)
        if staged:
            _phases(axes, history, height, align)
    _percent(right, "accuracy", "y")
    left.legend(frameon=False, fontsize=8, labelcolor=VARIABLES.ink, loc="upper right")
    return figure


def _rows_axis(axes: Axes, history: Sequence[Mapping[str, str]], staged: bool) -> None:
    style(axes, VARIABLES)
    axes.set_xlim(0.5, len(history) + 0.5)
    axes.set_xlabel("epoch" if staged else "penalty of the head", fontsize=9)
    axes.title.set_fontsize(10)
    if staged:
        axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    else:
        every = range(0, len(history), -(-len(history) // 6))
        axes.set_xticks([index + 1 for index in every], [history[index]["phase"].split()[-1] for index in every])


def headline(row: Mapping[str, str]) -> str:
    """The first column on validation that is no loss."""
    return next(name for name in row if name.startswith("validation_") and name != "validation_loss")


def _phases(axes: Axes, history: Sequence[Mapping[str, str]], height: float, align: str) -> None:
    begin = 1
    for name, rows in groupby(history, key=lambda row: row["phase"]):
        if begin > 1:
            axes.axvline(begin - 0.5, color=VARIABLES.muted, linewidth=1, linestyle=(0, (3, 3)))
        options: dict[str, Any] = {"transform": axes.get_xaxis_transform(), "parse_math": False, "rotation": 90}
        axes.text(begin - 0.35, height, cut(name), fontsize=7.5, color=VARIABLES.muted, va=align, **options)
        begin += len(list(rows))


def caption(metric: str, seeds: int) -> str:
    """What the comparison figure shows of so many trainings a strategy, in words."""
    marks = "dot = test, bar = its 95 % interval, tick = validation"
    marks += f"; means over the trainings ({seeds} seeds), small dots = each one on test" if seeds > 1 else ""
    return f"{title(metric)}: {marks}; to the right the cost"
