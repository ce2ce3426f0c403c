"""Figures of token classification: tags, and the sentences with the most wrong entities."""

import textwrap
from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from tlpipe.data.packed import Packed
from tlpipe.data.read_texts import read_texts
from tlpipe.entities import Entity
from tlpipe.evaluate.figures import LIGHT, Theme
from tlpipe.evaluate.sheets import LINE, text_blocks, wrapped
from tlpipe.evaluate.spec import Evaluate
from tlpipe.evaluate.tags import TagPredictions
from tlpipe.tasks.shared.classification_figures import write_class_figures


def write_figures(folder: Path, test: TagPredictions, packed: Packed, spec: Evaluate) -> None:
    """Write the pictures and tables that dvc.yaml names to `folder`."""
    write_class_figures(folder, test, packed, spec, mistaken_sentences)


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
        blocks.append((textwrap.shorten(said, LINE, placeholder=" …"), wrapped([" ".join(words)])))
    return text_blocks(blocks, f"No mistakes in {predictions.size:,} sentences", theme)


def _named(found: Sequence[Entity], words: Sequence[str]) -> str:
    return ", ".join(" ".join(words[each.start : each.end]) + f" ({each.type})" for each in found)
