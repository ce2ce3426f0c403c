"""Figures of tasks whose predictions are classes: confusion, reliability and the worst mistakes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from tlpipe.data.packed import Packed
from tlpipe.evaluate.figures import confusion_figure, reliability_figure, save_png
from tlpipe.evaluate.predictions import Predictions
from tlpipe.evaluate.spec import Evaluate
from tlpipe.evaluate.tables import write_classes

Sheet = Callable[[Any, Packed, int], Figure]
"""(test predictions, packed, count) -> the worst mistakes as a picture."""


def write_class_figures(folder: Path, test: Predictions, packed: Packed, spec: Evaluate, sheet: Sheet) -> None:
    """Write confusion.{csv,png}, reliability.{csv,png} and mistakes.png, which dvc.yaml names."""
    write_classes(folder, test)
    save_png(confusion_figure(test.confusion(), test.classes), folder / "confusion.png")
    save_png(reliability_figure(test), folder / "reliability.png")
    save_png(sheet(test, packed, spec.mistakes), folder / "mistakes.png")
