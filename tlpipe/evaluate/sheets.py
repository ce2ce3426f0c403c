"""Sheets of the worst mistakes on texts: headings and wrapped lines as a picture."""

import textwrap
from collections.abc import Sequence

from matplotlib.figure import Figure

from tlpipe.evaluate.figures import Theme

LINE, LINES = 110, 3
"""Characters of a line, and lines of a text, that a sheet shows."""


def text_blocks(blocks: Sequence[tuple[str, list[str]]], none: str, theme: Theme) -> Figure:
    """A heading and some lines for each of `blocks`, or the sentence for there being `none`."""
    if not blocks:
        figure = Figure(figsize=(6, 1.2))
        figure.text(0.5, 0.5, none, ha="center", color=theme.ink)
        return figure
    height = sum(len(block) + 1.6 for _, block in blocks)
    figure = Figure(figsize=(9.5, 0.4 + 0.17 * height))
    down = 0.2 / figure.get_figheight()
    step = (1 - 2 * down) / height
    top = 1 - down
    for said, block in blocks:
        _line(figure, top, said, theme.second)
        for number, line in enumerate(block, start=1):
            _line(figure, top - number * step, line, theme.ink)
        top -= (len(block) + 1.6) * step
    return figure


def _line(figure: Figure, height: float, text: str, colour: str) -> None:
    figure.text(0.02, height, text, va="top", fontsize=8, color=colour, parse_math=False)


def wrapped(text: Sequence[str]) -> list[str]:
    """Lines of a text, or of a pair, cut short after LINES."""
    lines = textwrap.wrap(" / ".join(text), LINE) or [""]
    return [*lines[: LINES - 1], lines[LINES - 1] + " …"] if len(lines) > LINES else lines
