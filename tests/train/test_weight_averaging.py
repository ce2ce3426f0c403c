"""Soups and interpolations against scores that are worked out by hand."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from tlpipe.strategies.unfreeze import AllLayers, TopLayers
from tlpipe.train.trainer.loop import Trainer
from tlpipe.train.trainer.validation import CALIBRATED
from tlpipe.train.trainer.weight_averaging import average, finish, interpolate, rank, soup, verdict_on, wise_ft


def at(value: float) -> dict[str, Tensor]:
    return {"w": torch.tensor([value]), "count": torch.tensor(int(value))}


def near(target: float) -> Callable[[dict[str, Tensor]], dict[str, float]]:
    """Scores that are best where w is `target`."""
    return lambda weights: {"loss": abs(float(weights["w"]) - target), "accuracy": 0.5}


def test_interpolation_is_exact_at_its_ends_and_keeps_the_trained_counters() -> None:
    assert interpolate(at(0.0), at(3.0), 0.0)["count"] == 0
    assert interpolate(at(0.0), at(3.0), 1.0)["w"] == 3
    middle = interpolate(at(0.0), at(3.0), 0.5)
    assert (float(middle["w"]), int(middle["count"])) == (1.5, 3)


@pytest.mark.parametrize(("target", "alpha"), [(0.0, 0.0), (3.1, 0.3), (10.0, 1.0), (99.0, 1.0)])
def test_wise_ft_takes_the_alpha_that_validation_likes_best(target: float, alpha: float) -> None:
    weights, ending = wise_ft(at(0.0), at(10.0), near(target))
    assert ending.alpha == alpha
    assert float(weights["w"]) == pytest.approx(10 * alpha)
    assert len(ending.tried) == 11


def test_of_equally_good_interpolations_the_nearest_to_the_trained_end_is_taken() -> None:
    assert wise_ft(at(0.0), at(1.0), lambda _: {"loss": 1.0, "accuracy": 1.0})[1].alpha == 1.0


def test_the_loss_decides_where_accuracy_would_rather_have_another() -> None:
    def score(weights: dict[str, Tensor]) -> dict[str, float]:
        return {"loss": abs(float(weights["w"]) - 0.3), "accuracy": float(weights["w"])}

    assert wise_ft(at(0.0), at(1.0), score)[1].alpha == 0.3


def test_a_soup_takes_in_who_does_not_make_it_worse() -> None:
    score = near(2.0)
    candidates = [(epoch, score(at(w)), at(w)) for epoch, w in ((4, 1.0), (5, 2.5), (6, 8.0), (7, 1.8))]
    weights, members = soup(candidates, score, "loss")
    # 1.8 is best; with 2.5 the mean is 2.15, better; with 1.0 it is 1.77, worse; with 8.0 far off
    assert members == (7, 5)
    assert float(weights["w"]) == pytest.approx(2.15)


def test_the_average_is_the_mean_and_counters_are_the_first_member_s() -> None:
    mean = average([at(4.0), at(1.0), at(1.0)])
    assert (float(mean["w"]), int(mean["count"])) == (2.0, 4)


def test_the_interpolation_starts_from_the_soup() -> None:
    score = near(1.0)
    candidates = [(1, score(at(2.0)), at(2.0)), (2, score(at(2.0)), at(2.0))]
    weights, ending = finish(at(2.0), candidates, at(0.0), score, "loss")
    assert (ending.soup, ending.alpha, float(weights["w"])) == ((2, 1), 0.5, 1.0)
    assert len(ending.describe()) == 2


def test_equal_accuracies_are_told_apart_by_the_loss_but_epochs_are_not() -> None:
    better, worse = {"accuracy": 0.9, "loss": 0.1}, {"accuracy": 0.9, "loss": 0.2}
    assert rank(better, "accuracy") > rank(worse, "accuracy")
    assert rank(better | {CALIBRATED: 0.3}, "accuracy") < rank(worse | {CALIBRATED: 0.25}, "accuracy")
    assert verdict_on(worse, better, "accuracy") == 0
    assert verdict_on(worse, better, "loss") == -1
    assert verdict_on({"accuracy": 0.5, "loss": 0.05}, better, "loss") == 1


GROUPS = ("stem", "middle", "top")
TOP = TopLayers(kind="top_layers", layers=1, lr=3e-3, gamma=0.5, epochs=4, wise_ft=True, soup=3).plan(GROUPS)
ALL = AllLayers(kind="all_layers", lr=3e-3, gamma=0.5, stages=2, stage_epochs=2, epochs=3, wise_ft=True).plan(GROUPS)


@pytest.mark.parametrize("plan", [TOP, ALL], ids=["top", "all"])
def test_a_training_ends_with_what_validation_chose(make_trainer: Callable[..., Trainer], plan: object) -> None:
    trainer = make_trainer(plan)
    for _ in trainer.run():
        pass
    ending = trainer.selection.ending
    assert ending is not None
    chosen = min(ending.tried, key=lambda each: each["loss"])
    # the end is looked at through kept activations where there are some, which round
    assert trainer.validate()["loss"] == pytest.approx(chosen["loss"], abs=0.02)
    assert chosen["alpha"] == ending.alpha
    if plan is TOP:
        assert ending.soup
        assert set(ending.soup) <= {0, 2, 3, 4, trainer.at.best_epoch}


def test_without_post_steps_there_is_nothing_to_tell(make_trainer: Callable[..., Trainer]) -> None:
    trainer = make_trainer(TOP.model_copy(update={"wise_ft": False, "soup": 0}))
    for _ in trainer.run():
        pass
    assert trainer.selection.ending is not None
    assert (trainer.selection.ending.soup, trainer.selection.ending.alpha) == (None, None)
    assert trainer.selection.recent == []
