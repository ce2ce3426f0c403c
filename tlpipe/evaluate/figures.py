"""The pictures of an evaluation. Every function returns a matplotlib Figure and touches no global state."""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PatchCollection
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from tlpipe.evaluate.predictions import Predictions
from tlpipe.metrics import reliability

DPI = 110
NUMBERS_UP_TO = 20
"""Classes up to which the cells of a confusion matrix hold their numbers."""
LONGEST = 22
"""Characters of a class name that a figure shows."""


@dataclass(frozen=True)
class Theme:
    """Colours; the report puts CSS variables in their place."""

    ink: str = "#1f2430"
    muted: str = "#6b7280"
    grid: str = "#e3e6ec"
    accent: str = "#2f6fde"
    second: str = "#d9730d"
    on_accent: str = "#ffffff"


LIGHT = Theme()


def save_png(figure: Figure, path: Path) -> None:
    """Write the figure; equal figures give equal bytes (no date, no version)."""
    FigureCanvasAgg(figure)
    with warnings.catch_warnings():
        # Class names may have characters that DejaVu lacks; a box in a picture is no reason to stop.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(path, dpi=DPI, facecolor="white", metadata={"Software": None})


def style(axes: Axes, theme: Theme) -> None:
    """Quiet axes: no box, a thin grid below the data, the theme's colours."""
    axes.set_axisbelow(True)
    axes.grid(color=theme.grid, linewidth=0.8)
    axes.tick_params(colors=theme.muted, labelcolor=theme.ink, length=0, labelsize=9)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(theme.grid)
    axes.xaxis.label.set_color(theme.ink)
    axes.yaxis.label.set_color(theme.ink)
    axes.title.set_color(theme.ink)


def cut(name: str) -> str:
    """A class name that fits on an axis."""
    return name if len(name) <= LONGEST else name[: LONGEST - 1] + "…"


def confusion_figure(confusion: NDArray[np.int64], classes: Sequence[str], theme: Theme = LIGHT) -> Figure:
    """Counts (C, C) as shares of the true class: rows sum to 100 %. Readable from 2 to 100 classes."""
    size = len(classes)
    side = min(max(2.6 + 0.34 * size, 3.8), 15.0)
    figure = Figure(figsize=(side, side * 0.94), layout="constrained")
    axes = figure.add_subplot()
    shares = confusion / np.maximum(confusion.sum(1, keepdims=True), 1)
    _cells(axes, shares, theme)
    if size <= NUMBERS_UP_TO:
        _numbers(axes, shares, theme)
    _class_axes(axes, classes, theme, fontsize=min(9.0, max(4.5, 62 * side * 0.8 / size)))
    return figure


def _cells(axes: Axes, shares: NDArray[np.float64], theme: Theme) -> None:
    there = np.argwhere(shares > 0)
    patches = [Rectangle((column - 0.5, row - 0.5), 1, 1) for row, column in there]
    # Colours with alpha rather than a colour map, so that the report's dark theme shines through.
    colours = [(*to_rgba(theme.accent)[:3], 0.1 + 0.9 * shares[row, column]) for row, column in there]
    axes.add_collection(PatchCollection(patches, facecolors=colours, edgecolors="none"))


def _numbers(axes: Axes, shares: NDArray[np.float64], theme: Theme) -> None:
    for row, column in np.argwhere(shares > 0):
        share = shares[row, column]
        colour = theme.on_accent if share > 0.55 else theme.ink
        text = f"{100 * share:.0f}" if share >= 0.005 else "<1"
        label = axes.text(column, row, text, ha="center", va="center", fontsize=8, color=colour)
        label.set_in_layout(False)  # inside its cell: the layout need not measure it


def _class_axes(axes: Axes, classes: Sequence[str], theme: Theme, fontsize: float) -> None:
    style(axes, theme)
    axes.grid(False)
    names, places = [cut(name) for name in classes], np.arange(len(classes))
    upright = max(len(name) for name in names) <= 2 or len(names) <= 2
    turned: dict[str, Any] = {} if upright else {"rotation": 60, "ha": "right", "rotation_mode": "anchor"}
    axes.set_xticks(places, names, fontsize=fontsize, parse_math=False, **turned)
    axes.set_yticks(places, names, fontsize=fontsize, parse_math=False)
    axes.set(xlim=(-0.5, len(names) - 0.5), ylim=(len(names) - 0.5, -0.5), aspect="equal")
    axes.set_xlabel("predicted (% of the true class)")
    axes.set_ylabel("true")


def reliability_figure(predictions: Predictions, theme: Theme = LIGHT) -> Figure:
    """Accuracy against confidence in bins of equal mass, over a histogram of the confidences."""
    figure = Figure(figsize=(4.4, 4.8), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    bins = reliability(predictions.labels, predictions.probabilities)
    confidence, accuracy = [b.confidence for b in bins], [b.accuracy for b in bins]
    upper.plot([0, 1], [0, 1], color=theme.muted, linewidth=1, linestyle=(0, (4, 3)), label="perfect calibration")
    upper.vlines(confidence, confidence, accuracy, color=theme.second, linewidth=3, alpha=0.55, label="gap")
    upper.plot(confidence, accuracy, "o-", color=theme.accent, markersize=4, linewidth=1.4, label="observed")
    upper.set(ylabel="accuracy", ylim=(-0.02, 1.02), xlim=(0, 1.01))
    upper.legend(frameon=False, fontsize=8, labelcolor=theme.ink, loc="upper left")
    lower.hist(predictions.probabilities.max(1), bins=np.linspace(0, 1, 21).tolist(), color=theme.accent, alpha=0.7)
    lower.set(xlabel="confidence (highest probability)", ylabel="samples")
    for axes in (upper, lower):
        style(axes, theme)
    return figure


def mistakes_figure(predictions: Predictions, images: NDArray[np.uint8], count: int, theme: Theme = LIGHT) -> Figure:
    """A contact sheet of up to `count` mistakes: the true class, and what was predicted with which probability.

    `images` are the packed arrays that `predictions.rows` refers to.
    """
    worst = predictions.worst(count)
    if not len(worst):
        figure = Figure(figsize=(6, 1.2))
        figure.text(0.5, 0.5, f"No mistakes on {len(predictions.rows):,} samples", ha="center", color=theme.ink)
        return figure
    columns = min(8, max(4, len(worst)))
    rows = math.ceil(len(worst) / columns)
    figure = Figure(figsize=(1.55 * columns, 1.95 * rows), layout="constrained")
    for axes in (grid := figure.subplots(rows, columns, squeeze=False).ravel()):
        axes.set_axis_off()
    for axes, position in zip(grid, worst, strict=False):
        _tile(axes, predictions, int(position), images, theme)
    return figure


def _tile(axes: Axes, predictions: Predictions, position: int, images: NDArray[np.uint8], theme: Theme) -> None:
    axes.imshow(images[predictions.rows[position]], interpolation="nearest")
    label, predicted = predictions.labels[position], predictions.predicted[position]
    probability = predictions.probabilities[position, predicted]
    options: dict[str, Any] = {"ha": "center", "fontsize": 8, "parse_math": False, "transform": axes.transAxes}
    axes.text(0.5, -0.03, f"true {cut(predictions.classes[label])}", va="top", color=theme.ink, **options)
    said = f"said {cut(predictions.classes[predicted])}, {100 * probability:.0f} %"
    axes.text(0.5, -0.16, said, va="top", color=theme.second, **options)
