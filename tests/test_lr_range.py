"""The range test from the command line's side: its refusals, and its picture."""

from pathlib import Path

import pytest

from tlpipe.config import ConfigError
from tlpipe.lr_range import chart, measure
from tlpipe.params import load_params
from tlpipe.train.trainer.lr_range import Point

ROOT = Path(__file__).resolve().parents[1]


def test_the_picture_has_a_bar_that_is_long_where_the_loss_is_high():
    points = [Point(10.0**-step, float(step)) for step in range(5)]
    lines = chart(points).splitlines()
    assert lines[0].split() == ["rate", "loss"]
    assert [line.count("#") for line in lines[1:]] == [1, 13, 25, 38, 50]
    assert len(chart([Point(1e-3, 1.0)] * 100).splitlines()) <= 25


def test_without_a_head_stage_it_says_what_to_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="dvc repro"):
        measure(load_params(ROOT / "params.yaml"), "all_layers", 50, 1.0)
