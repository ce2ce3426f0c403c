"""The numbers of an evaluation as JSON and CSV, for DVC, for MLflow and for people."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from tlpipe.csv_files import write_rows
from tlpipe.data.packed import Split
from tlpipe.evaluate.judged import Judged
from tlpipe.evaluate.judged import intervals as judged_intervals
from tlpipe.evaluate.predictions import Predictions
from tlpipe.evaluate.spec import Evaluate
from tlpipe.intervals import Interval
from tlpipe.metrics import reliability

EVALUATED: tuple[Split, ...] = ("validation", "test")
SPREAD = "seeds/spread.json"
Intervals = dict[str, dict[str, Interval]]
"""{split: {metric: interval}}."""


def write_tables(folder: Path, trainings: Sequence[Judged], spec: Evaluate) -> dict[str, dict[str, float]]:
    """Write figures, predictions and classes of the first training to `folder`, and the spread over all of them.

    Returns:
        metrics.json's content: {split: {metric: value}}, of the first training, whose model is the strategy's.
    """
    first = trainings[0]
    metrics, intervals = scores(first), over_samples([first], spec)
    named = {split: {name: each._asdict() for name, each in part.items()} for split, part in intervals.items()}
    write_json(folder / "metrics.json", metrics)
    write_json(folder / "intervals.json", named)
    together = over_samples(trainings, spec) if len(trainings) > 1 else intervals
    (folder / SPREAD).parent.mkdir(exist_ok=True)
    write_json(folder / SPREAD, spread([metrics, *map(scores, trainings[1:])], together))
    for index, each in enumerate(trainings):
        each.save(folder / predictions_file(index))
    header = ("class", "precision", "recall", "f1", "support")
    write_rows(folder / "per_class.csv", header, first.of("test").per_class())
    return metrics


def predictions_file(index: int) -> str:
    """The file of what a strategy's training said; number 0 is the one whose model is the strategy's."""
    return f"seeds/{index}.csv" if index else "predictions.csv"


def over_samples(trainings: Sequence[Judged], spec: Evaluate) -> Intervals:
    """The mean over trainings of each metric, with its interval."""
    return {
        split: judged_intervals([each.of(split) for each in trainings], spec.resamples, spec.seed)
        for split in EVALUATED
    }


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


def spread(
    repeats: Sequence[dict[str, dict[str, float]]], intervals: Intervals
) -> dict[str, dict[str, dict[str, Any]]]:
    """{split: {metric: {"values", "mean", "deviation", "low", "high"}}} over a strategy's trainings, the first first.

    The deviation is the sample's (n - 1), and None for a single training. `low` and `high` are the mean's interval over
    samples, None where it has none.
    """
    return {
        split: {name: _spread([each[split][name] for each in repeats], intervals[split].get(name)) for name in metrics}
        for split, metrics in repeats[0].items()
    }


def _spread(values: Sequence[float], around: Interval | None) -> dict[str, Any]:
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else None
    low, high = (around.low, around.high) if around else (None, None)
    return {"values": list(values), "mean": float(np.mean(values)), "deviation": deviation, "low": low, "high": high}


def write_json(path: Path, data: Any) -> None:
    """Indented, in the order given, ending with a newline; NaN and infinity are refused."""
    path.write_text(json.dumps(data, indent=2, allow_nan=False, ensure_ascii=False) + "\n", encoding="utf-8")
