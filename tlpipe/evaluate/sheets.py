"""The worst mistakes as a picture, by the kind of data."""

import textwrap
from collections.abc import Callable, Sequence
from typing import Any

from matplotlib.figure import Figure

from tlpipe.data.packed import Packed
from tlpipe.data.read_texts import read_texts
from tlpipe.entities import Entity
from tlpipe.evaluate.answers import AnswerPredictions
from tlpipe.evaluate.figures import LIGHT, Theme, cut, mistakes_figure
from tlpipe.evaluate.predictions import Predictions
from tlpipe.evaluate.tags import TagPredictions

LINE, LINES = 110, 3
"""Characters of a line, and lines of a text, that a sheet shows."""


def mistaken_texts(predictions: Predictions, packed: Packed, count: int, theme: Theme = LIGHT) -> Figure:
    """Up to `count` mistakes as lines: the text, the true class, and what was predicted with which probability."""
    texts, blocks = read_texts(packed.folder), []
    for position in predictions.worst(count):
        label, predicted = predictions.labels[position], predictions.predicted[position]
        share = 100 * predictions.probabilities[position, predicted]
        said = f"true {cut(predictions.classes[label])}, said {cut(predictions.classes[predicted])}, {share:.0f} %"
        blocks.append((said, _wrapped(texts[predictions.rows[position]])))
    return _blocks(blocks, f"No mistakes on {len(predictions.rows):,} samples", theme)


def mistaken_answers(predictions: AnswerPredictions, packed: Packed, count: int, theme: Theme = LIGHT) -> Figure:
    """Up to `count` mistakes as lines: the question, the right answers, and what was said."""
    texts, blocks = read_texts(packed.folder), []
    for position in predictions.worst(count):
        question = texts[packed.sample_of[predictions.rows[position]]][0]
        right = " | ".join(dict.fromkeys(predictions.right[position])) or "(no answer)"
        said = predictions.said[position] or "(no answer)"
        blocks.append((_wrapped([f"right: {right}"])[0], [*_wrapped([question]), *_wrapped([f"said: {said}"])]))
    return _blocks(blocks, f"No mistakes on {predictions.size:,} questions", theme)


def _blocks(blocks: Sequence[tuple[str, list[str]]], none: str, theme: Theme) -> Figure:
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


def mistaken_sentences(predictions: TagPredictions, packed: Packed, count: int, theme: Theme = LIGHT) -> Figure:
    """Up to `count` sentences with the most wrong entities: what was there and not found, and what was only said."""
    texts, samples = read_texts(packed.folder), packed.sample_of
    wrong = [each for each in predictions.differences() if each.missed or each.invented]
    wrong.sort(key=lambda each: (-len(each.missed) - len(each.invented), each.sentence))
    blocks = []
    for each in wrong[:count]:
        words = texts[samples[predictions.rows[each.first]]]
        parts = (("missed", each.missed), ("said", each.invented))
        said = "; ".join(f"{what} {_named(found, words)}" for what, found in parts if found)
        blocks.append((textwrap.shorten(said, LINE, placeholder=" …"), _wrapped([" ".join(words)])))
    return _blocks(blocks, f"No mistakes in {predictions.size:,} sentences", theme)


def _named(found: Sequence[Entity], words: Sequence[str]) -> str:
    return ", ".join(" ".join(words[each.start : each.end]) + f" ({each.type})" for each in found)


def _line(figure: Figure, height: float, text: str, colour: str) -> None:
    figure.text(0.02, height, text, va="top", fontsize=8, color=colour, parse_math=False)


def _wrapped(text: Sequence[str]) -> list[str]:
    lines = textwrap.wrap(" / ".join(text), LINE) or [""]
    return [*lines[: LINES - 1], lines[LINES - 1] + " …"] if len(lines) > LINES else lines


def mistaken_images(predictions: Predictions, packed: Packed, count: int, theme: Theme = LIGHT) -> Figure:
    """A contact sheet of up to `count` mistakes."""
    return mistakes_figure(predictions, packed.samples, count, theme)


SHEETS: dict[str, Callable[[Any, Packed, int], Figure]] = {
    "image": mistaken_images,
    "text": mistaken_texts,
    "words": mistaken_sentences,
    "questions": mistaken_answers,
}
