"""The numbers of an evaluation as JSON and CSV, for DVC, for MLflow and for people."""

import csv
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from tlpipe.data.packed import Split
from tlpipe.evaluate.judged import Judged
from tlpipe.evaluate.predictions import Predictions
from tlpipe.evaluate.spec import Evaluate
from tlpipe.metrics import reliability

EVALUATED: tuple[Split, ...] = ("validation", "test")


def write_tables(folder: Path, predictions: Judged, spec: Evaluate) -> dict[str, dict[str, float]]:
    """Write figures, predictions and classes to `folder`; return metrics.json's content: {split: {metric: value}}."""
    parts = {split: predictions.of(split) for split in EVALUATED}
    metrics = scores(predictions)
    intervals = {
        split: {name: interval._asdict() for name, interval in part.bootstrap(spec.resamples, spec.seed).items()}
        for split, part in parts.items()
    }
    write_json(folder / "metrics.json", metrics)
    write_json(folder / "intervals.json", intervals)
    predictions.save(folder / "predictions.csv")
    write_rows(folder / "per_class.csv", ("class", "precision", "recall", "f1", "support"), parts["test"].per_class())
    return metrics


def write_classes(folder: Path, test: Predictions) -> None:
    """Write what each sample, or word, was taken for, and how often the model was right when it was how sure."""
    names = np.array(test.classes)
    write_rows(
        folder / "confusion.csv", ("actual", "predicted"), zip(names[test.labels], names[test.predicted], strict=True)
    )
    bins = [asdict(part).values() for part in reliability(test.labels, test.probabilities)]
    write_rows(folder / "reliability.csv", ("bin", "confidence", "accuracy", "count"), bins)


def scores(predictions: Judged) -> dict[str, dict[str, float]]:
    """{split: {metric: value}} of the validation and the test split."""
    parts = {split: predictions.of(split) for split in EVALUATED}
    return {split: part.measure() for split, part in parts.items()}


def spread(repeats: Sequence[dict[str, dict[str, float]]]) -> dict[str, dict[str, dict[str, Any]]]:
    """{split: {metric: {"values", "mean", "deviation"}}} over the trainings of one strategy, the first one's first.

    The deviation is the sample's (n - 1), and None for a single training.
    """
    return {
        split: {name: _spread([each[split][name] for each in repeats]) for name in metrics}
        for split, metrics in repeats[0].items()
    }


def _spread(values: Sequence[float]) -> dict[str, Any]:
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return {"values": list(values), "mean": float(np.mean(values)), "deviation": deviation}


def write_json(path: Path, data: Any) -> None:
    """Indented, in the order given, ending with a newline; NaN and infinity are refused."""
    path.write_text(json.dumps(data, indent=2, allow_nan=False, ensure_ascii=False) + "\n", encoding="utf-8")


def write_rows(path: Path, header: Sequence[str], rows: Iterable[Iterable[Any]]) -> None:
    """A CSV file with a header."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
