"""Figures of question answering: answered or not, and the worst answers."""

from pathlib import Path

from matplotlib.figure import Figure

from tlpipe.data.packed import Packed
from tlpipe.data.read_texts import read_texts
from tlpipe.evaluate.answers import AnswerPredictions
from tlpipe.evaluate.figures import LIGHT, Theme
from tlpipe.evaluate.sheets import text_blocks, wrapped
from tlpipe.evaluate.spec import Evaluate
from tlpipe.tasks.shared.classification_figures import write_class_figures


def write_figures(folder: Path, test: AnswerPredictions, packed: Packed, spec: Evaluate) -> None:
    """Write the pictures and tables that dvc.yaml names to `folder`."""
    write_class_figures(folder, test, packed, spec, mistaken_answers)


def mistaken_answers(predictions: AnswerPredictions, packed: Packed, count: int, theme: Theme = LIGHT) -> Figure:
    """Up to `count` mistakes as lines: the question, the right answers, and what was said."""
    texts, blocks = read_texts(packed.folder), []
    for position in predictions.worst(count):
        question = texts[packed.sample_of[predictions.rows[position]]][0]
        right = " | ".join(dict.fromkeys(predictions.right[position])) or "(no answer)"
        said = predictions.said[position] or "(no answer)"
        blocks.append((wrapped([f"right: {right}"])[0], [*wrapped([question]), *wrapped([f"said: {said}"])]))
    return text_blocks(blocks, f"No mistakes on {predictions.size:,} questions", theme)
