"""The range test: its rates climb by equal factors, its suggestion lies below where the loss turns."""

import itertools
from collections.abc import Callable

import pytest

from tlpipe.config import ConfigError
from tlpipe.strategies.head_only import HeadOnly
from tlpipe.strategies.unfreeze import AllLayers, TopLayers
from tlpipe.train.trainer.loop import Trainer
from tlpipe.train.trainer.lr_range import Point, lr_range, range_plan, suggestion

GROUPS = ("stem", "middle", "top")
STAGED = TopLayers(kind="top_layers", layers=2, lr=1e-3, gamma=0.5, stage_epochs=2, epochs=3, soup=2, wise_ft=True)
Make = Callable[..., Trainer]


def test_the_plan_is_the_last_phase_alone_with_the_same_ratios(make_trainer: Make) -> None:
    staged = STAGED.plan(GROUPS)
    plan, training = range_plan(staged, make_trainer(staged, ema=0.9).training, 0.5, steps=40, samples=30)
    (phase,) = plan.phases
    assert phase.rates == {"stem": None, "middle": 0.125, "top": 0.25, "head": 0.5}
    assert phase.epochs == 10
    assert (training.schedule, training.warmup, training.ema) == ("rising", 0.0, None)
    assert (plan.soup, plan.wise_ft) == (0, False)


def test_a_plan_without_phases_has_no_rate_to_find(make_trainer: Make) -> None:
    training = make_trainer(STAGED.plan(GROUPS)).training
    with pytest.raises(ConfigError, match="no learning rate"):
        range_plan(HeadOnly(kind="head_only").plan(GROUPS), training, 1.0, steps=40, samples=30)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_rates_climb_by_six_powers_of_ten_and_the_loss_falls(make_trainer: Make, optimizer: str) -> None:
    everything = AllLayers(kind="all_layers", lr=1e-3, gamma=1.0, stages=1, epochs=1).plan(GROUPS)
    plan, training = range_plan(everything, make_trainer(everything).training, 10.0, steps=100, samples=30)
    changed = {name: getattr(training, name) for name in ("warmup", "patience", "ema")}
    trainer = make_trainer(plan, optimizer=optimizer, **changed)
    trainer.training = training
    points = list(lr_range(trainer))
    assert points[0].lr == pytest.approx(1e-5)
    steps = [after.lr / before.lr for before, after in itertools.pairwise(points)]
    assert steps == pytest.approx([10 ** (6 / 100)] * len(steps))
    assert 0 < points[0].loss < 5
    assert min(point.loss for point in points) < points[0].loss
    assert 1e-5 < suggestion(points) < 1.0


def test_the_suggestion_is_a_tenth_of_the_rate_with_the_lowest_loss() -> None:
    points = [Point(1e-4, 2.0), Point(1e-3, 1.5), Point(1.23e-2, 1.0), Point(0.1, 3.0)]
    assert suggestion(points) == 1.2e-3
