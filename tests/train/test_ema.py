"""The moving average forgets its start, and is worked out by hand."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from tests.train.test_loop import STAGED, finish
from tlpipe.train.trainer.ema import MovingAverage
from tlpipe.train.trainer.loop import Trainer


def weight(value: float) -> nn.Module:
    layer = nn.Linear(1, 1, bias=False)
    nn.init.constant_(layer.weight, value)
    return layer


def test_the_decay_warms_up_by_the_steps_since_it_began() -> None:
    average = MovingAverage(weight(1.0), 0.5)
    expected, model = 1.0, weight(0.0)
    for step in range(1, 12):
        average.step(model)
        expected *= min(0.5, (1 + step) / (10 + step))
        assert average.weights is not None
        assert float(average.weights["weight"]) == pytest.approx(expected, rel=1e-5)
    assert average.steps == 11


def test_a_long_average_keeps_little_of_its_start_after_600_steps() -> None:
    average, model = MovingAverage(weight(1.0), 0.999), weight(0.0)
    for _ in range(600):
        average.step(model)
    assert average.weights is not None
    assert float(average.weights["weight"]) < 0.01  # without a warm-up 0.999 ** 600 = 0.55 would be left


def test_it_goes_on_at_its_age_and_begins_again_at_none() -> None:
    first, model = MovingAverage(weight(1.0), 0.9), weight(0.0)
    for _ in range(3):
        first.step(model)
    second = MovingAverage(weight(5.0), 0.9)
    second.restore(first.state(), model.state_dict())
    for average in (first, second):
        average.step(model)
    assert first.weights is not None
    assert second.weights is not None
    assert torch.equal(first.weights["weight"], second.weights["weight"])
    second.begin(weight(2.0).state_dict())
    assert (second.steps, float(second.weights["weight"])) == (0, 2.0)


def test_each_phase_begins_an_average_of_its_own(make_trainer: Callable[..., Trainer]) -> None:
    trainer = make_trainer(STAGED, ema=0.99)
    finish(trainer)
    assert trainer.average.steps == 0
    assert trainer.at.steps == 16
