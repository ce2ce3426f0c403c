"""What a model said survives the file exactly."""

from pathlib import Path

import numpy as np
import pytest

from tlpipe.config import ConfigError
from tlpipe.evaluate.predictions import Predictions

PROBABILITIES = [[0.7, 0.2, 0.1], [0.1, 0.6, 0.3], [0.5, 0.2, 0.3], [0.1, 0.1, 0.8], [1 / 3, 0.5, 1 / 6]]
SPLITS = ("validation", "test", "test", "test", "test")


def predictions() -> Predictions:
    exact = np.array(PROBABILITIES, np.float32).astype(np.float64)
    ids = tuple(f"{start}{row}.png" for row, start in enumerate(("a,", "=", "-", "+", "'@")))
    return Predictions(("x", 'y "1"', "=é"), np.arange(5) + 10, ids, SPLITS, np.array([0, 0, 1, 2, 2]), exact)


def test_the_file_keeps_everything(tmp_path: Path):
    before, path = predictions(), tmp_path / "predictions.csv"
    before.save(path)
    after = Predictions.load(path)
    assert (after.classes, after.ids, after.splits) == (before.classes, before.ids, before.splits)
    assert np.array_equal(after.probabilities, before.probabilities)
    assert np.array_equal(after.labels, before.labels)
    assert np.array_equal(after.rows, before.rows)


def test_columns_are_those_of_the_contract(tmp_path: Path):
    predictions().save(tmp_path / "predictions.csv")
    header, first, *_ = (tmp_path / "predictions.csv").read_text().splitlines()
    assert header == 'row,id,split,group,label,predicted,p_x,"p_y ""1""",p_=é'
    assert first.startswith('10,"a,0.png",validation,,x,x,0.699999988,')


def test_confusion_by_hand():
    assert predictions().of("test").confusion().tolist() == [[0, 1, 0], [1, 0, 0], [0, 1, 1]]


def test_the_worst_mistake_gives_the_true_class_least():
    test = predictions().of("test")
    assert test.worst(9).tolist() == [0, 3, 1]
    assert test.worst(1).tolist() == [0]


def test_a_missing_file_says_what_to_do(tmp_path: Path):
    with pytest.raises(ConfigError, match="was not evaluated; run `dvc repro`"):
        Predictions.load(tmp_path / "predictions.csv")
