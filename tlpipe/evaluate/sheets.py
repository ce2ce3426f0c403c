"""The worst mistakes as a picture, by the kind of data."""

import textwrap
from collections.abc import Callable, Sequence

from matplotlib.figure import Figure

from tlpipe.data.packed import Packed
from tlpipe.data.read_texts import read_texts
from tlpipe.evaluate.figures import LIGHT, Theme, cut, mistakes_figure
from tlpipe.evaluate.predictions import Predictions

LINE, LINES = 110, 3
"""Characters of a line, and lines of a text, that a sheet shows."""


def mistaken_texts(predictions: Predictions, packed: Packed, count: int, theme: Theme = LIGHT) -> Figure:
    """Up to `count` mistakes as lines: the text, the true class, and what was predicted with which probability."""
    worst = predictions.worst(count)
    if not len(worst):
        figure = Figure(figsize=(6, 1.2))
        figure.text(0.5, 0.5, f"No mistakes on {len(predictions.rows):,} samples", ha="center", color=theme.ink)
        return figure
    texts = read_texts(packed.folder)
    blocks = [_wrapped(texts[predictions.rows[position]]) for position in worst]
    height = sum(len(block) + 1.6 for block in blocks)
    figure = Figure(figsize=(9.5, 0.4 + 0.17 * height))
    down = 0.2 / figure.get_figheight()
    step = (1 - 2 * down) / height
    top = 1 - down
    for position, block in zip(worst, blocks, strict=True):
        label, predicted = predictions.labels[position], predictions.predicted[position]
        share = 100 * predictions.probabilities[position, predicted]
        said = f"true {cut(predictions.classes[label])}, said {cut(predictions.classes[predicted])}, {share:.0f} %"
        _line(figure, top, said, theme.second)
        for number, line in enumerate(block, start=1):
            _line(figure, top - number * step, line, theme.ink)
        top -= (len(block) + 1.6) * step
    return figure


def _line(figure: Figure, height: float, text: str, colour: str) -> None:
    figure.text(0.02, height, text, va="top", fontsize=8, color=colour, parse_math=False)


def _wrapped(text: Sequence[str]) -> list[str]:
    lines = textwrap.wrap(" / ".join(text), LINE) or [""]
    return [*lines[: LINES - 1], lines[LINES - 1] + " …"] if len(lines) > LINES else lines


def mistaken_images(predictions: Predictions, packed: Packed, count: int, theme: Theme = LIGHT) -> Figure:
    """A contact sheet of up to `count` mistakes."""
    return mistakes_figure(predictions, packed.images, count, theme)


SHEETS: dict[str, Callable[[Predictions, Packed, int], Figure]] = {"image": mistaken_images, "text": mistaken_texts}
