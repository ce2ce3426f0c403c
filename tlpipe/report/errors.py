"""Error section of the report: facts for the template that shows them."""

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tlpipe.config import ConfigError
from tlpipe.csv_files import read_columns
from tlpipe.evaluate.figures import confusion_figure, reliability_figure
from tlpipe.evaluate.predictions import Predictions
from tlpipe.report.figures import VARIABLES, inline_svg

CLASSES = "errors_classes.html.j2"
"""Template of `class_errors`."""


@dataclass(frozen=True)
class Errors:
    """The sections on errors and calibration."""

    template: str
    """Below tlpipe/report or tlpipe/tasks; it is given `errors`, and everything that the page has."""
    facts: Callable[[Path, str, Mapping[str, Any]], dict[str, Any]]
    """(project's folder, champion, what each strategy said of the test split) -> `errors`."""
    note: str = ""
    """What a reader must know of the figures."""


def class_errors(root: Path, champion: str, said: Mapping[str, Predictions], unit: str, per: str) -> dict[str, Any]:
    """Of outputs that are classes; `unit` is what each of them is of, `per` what the table of the weakest counts."""
    test, folder = said[champion], root / "reports/evaluation" / champion
    return {
        "unit": unit,
        "per": per,
        "total": len(test.rows),
        "mistakes": int((test.predicted != test.labels).sum()),
        "mistakes_png": data_uri(folder / "mistakes.png"),
        "per_class": sorted(rows(folder / "per_class.csv"), key=_f1),
        "confusions": confusions(test),
        "strategies": [
            {
                "name": name,
                "confusion": inline_svg(
                    confusion_figure(each.confusion(), each.classes, VARIABLES), f"confusion matrix of {name}"
                ),
                "reliability": inline_svg(reliability_figure(each, VARIABLES), f"reliability of {name}"),
            }
            for name, each in said.items()
        ],
    }


def confusions(test: Predictions, count: int = 8) -> list[dict[str, Any]]:
    """The classes that are most often taken for another: true, predicted, samples, share of the true class."""
    matrix = test.confusion()
    shares = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    pairs = [(int(row), int(column)) for row, column in np.argwhere(matrix > 0) if row != column]
    pairs.sort(key=lambda pair: (-matrix[pair], -shares[pair]))
    return [
        {
            "true": test.classes[row],
            "predicted": test.classes[column],
            "samples": matrix[row, column],
            "share": shares[row, column],
        }
        for row, column in pairs[:count]
    ]


def rows(path: Path) -> list[dict[str, str]]:
    """The lines of a CSV file; ConfigError when an earlier stage has not written it."""
    if not path.is_file():
        raise ConfigError(f"{path} does not exist; run `dvc repro` to make it")
    return read_columns(path)


def data_uri(path: Path) -> str:
    """A PNG file as a data URI; ConfigError when an earlier stage has not written it."""
    if not path.is_file():
        raise ConfigError(f"{path} does not exist; run `dvc repro` to make it")
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()


def _f1(row: Mapping[str, str]) -> tuple[float, str]:
    return float(row["f1"]), row["class"]
