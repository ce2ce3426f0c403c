"""Figures of text classification: what was taken for what, and the texts of the worst mistakes."""

from pathlib import Path

from matplotlib.figure import Figure

from tlpipe.data.packed import Packed
from tlpipe.data.read_texts import read_texts
from tlpipe.evaluate.figures import LIGHT, Theme, cut
from tlpipe.evaluate.predictions import Predictions
from tlpipe.evaluate.sheets import text_blocks, wrapped
from tlpipe.evaluate.spec import Evaluate
from tlpipe.tasks.shared.classification_figures import write_class_figures


def write_figures(folder: Path, test: Predictions, packed: Packed, spec: Evaluate) -> None:
    """Write the pictures and tables that dvc.yaml names to `folder`."""
    write_class_figures(folder, test, packed, spec, mistaken_texts)


def mistaken_texts(predictions: Predictions, packed: Packed, count: int, theme: Theme = LIGHT) -> Figure:
    """Up to `count` mistakes as lines: the text, the true class, and what was predicted with which probability."""
    texts, blocks = read_texts(packed.folder), []
    for position in predictions.worst(count):
        label, predicted = predictions.labels[position], predictions.predicted[position]
        share = 100 * predictions.probabilities[position, predicted]
        said = f"true {cut(predictions.classes[label])}, said {cut(predictions.classes[predicted])}, {share:.0f} %"
        blocks.append((said, wrapped(texts[predictions.rows[position]])))
    return text_blocks(blocks, f"No mistakes on {len(predictions.rows):,} samples", theme)
