"""The files beside an evaluation's figures, by the kind of data: what was taken for what, and the worst mistakes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tlpipe.data.packed import Packed
from tlpipe.evaluate.figures import confusion_figure, reliability_figure, save_png
from tlpipe.evaluate.predictions import Predictions
from tlpipe.evaluate.sheets import SHEETS
from tlpipe.evaluate.spec import Evaluate
from tlpipe.evaluate.tables import write_classes


def show_classes(folder: Path, test: Predictions, packed: Packed, spec: Evaluate) -> None:
    """confusion.{csv,png}, reliability.{csv,png} and mistakes.png."""
    write_classes(folder, test)
    save_png(confusion_figure(test.confusion(), test.classes), folder / "confusion.png")
    save_png(reliability_figure(test), folder / "reliability.png")
    save_png(SHEETS[packed.preprocess.kind](test, packed, spec.mistakes), folder / "mistakes.png")


SHOWN: dict[str, Callable[[Path, Any, Packed, Evaluate], None]] = dict.fromkeys(
    ("image", "text", "words", "questions"), show_classes
)
"""By the kind of preprocessing; dvc.yaml names the files, so every kind writes them."""
