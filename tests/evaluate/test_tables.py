"""The files of reports/evaluation/<strategy>/ as docs/files.md describes them."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from tlpipe.evaluate.predictions import Predictions
from tlpipe.evaluate.tables import spread, write_json
from tlpipe.intervals import Interval
from tlpipe.metrics import METRICS


def test_metrics_and_intervals_agree(made: Path):
    folder = made / "reports/evaluation/top_layers"
    metrics, intervals = (json.loads((folder / f"{name}.json").read_text()) for name in ("metrics", "intervals"))
    assert list(metrics) == list(intervals) == ["validation", "test"]
    for split, values in metrics.items():
        assert set(values) == set(METRICS)
        for name, value in values.items():
            entry = intervals[split][name]
            assert list(entry) == ["value", "low", "high"]
            assert entry["value"] == value
            assert entry["low"] <= value <= entry["high"]


def test_metrics_follow_from_the_predictions_file(made: Path):
    folder = made / "reports/evaluation/head_only"
    test = Predictions.load(folder / "predictions.csv").of("test")
    metrics = json.loads((folder / "metrics.json").read_text())["test"]
    assert metrics == {name: metric(test.labels, test.probabilities) for name, metric in METRICS.items()}


def test_confusion_csv_has_a_line_a_test_sample(made: Path):
    folder = made / "reports/evaluation/head_only"
    test = Predictions.load(folder / "predictions.csv").of("test")
    rows = list(csv.DictReader((folder / "confusion.csv").read_text().splitlines()))
    assert list(rows[0]) == ["actual", "predicted"]
    assert [row["actual"] for row in rows] == [test.classes[label] for label in test.labels]
    share = np.mean([row["actual"] == row["predicted"] for row in rows])
    assert share == json.loads((folder / "metrics.json").read_text())["test"]["accuracy"]


def test_reliability_csv_counts_every_test_sample(made: Path):
    folder = made / "reports/evaluation/head_only"
    rows = list(csv.DictReader((folder / "reliability.csv").read_text().splitlines()))
    assert list(rows[0]) == ["bin", "confidence", "accuracy", "count"]
    assert sum(int(row["count"]) for row in rows) == 120
    confidences = [float(row["confidence"]) for row in rows]
    assert confidences == sorted(confidences)


def test_per_class_by_hand():
    probabilities = np.eye(3)[[0, 0, 1, 0]]
    labels = np.array([0, 0, 1, 1])
    table = Predictions(("a", "b", "c"), np.arange(4), ("",) * 4, ("test",) * 4, labels, probabilities).per_class()
    assert table[0] == ("a", pytest.approx(2 / 3), 1.0, pytest.approx(0.8), 2)
    assert table[1] == ("b", 1.0, 0.5, pytest.approx(2 / 3), 2)
    assert table[2] == ("c", 0.0, 0.0, 0.0, 0)


def test_json_refuses_what_is_not_json(tmp_path: Path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "x.json", {"value": float("nan")})


def test_the_spread_is_over_trainings_and_unknown_for_one():
    first, second = ({"test": {"accuracy": value}} for value in (0.8, 0.9))
    around = {"test": {"accuracy": Interval(0.85, 0.7, 0.95)}}
    both = spread([first, second], around)["test"]["accuracy"]
    assert (both["values"], both["low"], both["high"]) == ([0.8, 0.9], 0.7, 0.95)
    assert (both["mean"], both["deviation"]) == pytest.approx((0.85, 0.1 / 2**0.5))
    alone = spread([first], {"test": {}})["test"]["accuracy"]
    assert alone == {"values": [0.8], "mean": 0.8, "deviation": None, "low": None, "high": None}
