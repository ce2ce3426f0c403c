"""Figures of image classification: what was taken for what, and the images of the worst mistakes."""

from pathlib import Path

from matplotlib.figure import Figure

from tlpipe.data.packed import Packed
from tlpipe.evaluate.figures import LIGHT, Theme, mistakes_figure
from tlpipe.evaluate.predictions import Predictions
from tlpipe.evaluate.spec import Evaluate
from tlpipe.tasks.shared.classification_figures import write_class_figures


def write_figures(folder: Path, test: Predictions, packed: Packed, spec: Evaluate) -> None:
    """Write the pictures and tables that dvc.yaml names to `folder`."""
    write_class_figures(folder, test, packed, spec, mistaken_images)


def mistaken_images(predictions: Predictions, packed: Packed, count: int, theme: Theme = LIGHT) -> Figure:
    """A contact sheet of up to `count` mistakes."""
    return mistakes_figure(predictions, packed.samples, count, theme)
