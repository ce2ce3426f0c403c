"""The trainer does what the plan says, and goes on after any interruption as if there had been none."""

import copy
import itertools
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tlpipe.config import ConfigError
from tlpipe.strategies.head_only import HeadOnly
from tlpipe.strategies.plan import HEAD, Phase, Plan
from tlpipe.strategies.scratch import Scratch
from tlpipe.strategies.unfreeze import AllLayers, TopLayers
from tlpipe.train.trainer.events import Epoch, Step
from tlpipe.train.trainer.loop import Trainer
from tlpipe.train.trainer.resume import Keeper
from tlpipe.train.trainer.trainable import count_parameters, layer_groups
from tlpipe.train.trainer.validation import CALIBRATED

GROUPS = ("stem", "middle", "top")
Make = Callable[..., Trainer]
STAGED = AllLayers(kind="all_layers", lr=3e-3, gamma=0.5, stages=2, stage_epochs=2, epochs=2).plan(GROUPS)
TOP = TopLayers(kind="top_layers", layers=1, lr=3e-3, gamma=0.5, epochs=3).plan(GROUPS)


def finish(trainer: Trainer) -> list[Epoch]:
    return [event for event in trainer.run() if isinstance(event, Epoch)]


def weights(trainer: Trainer) -> dict[str, Tensor]:
    return copy.deepcopy(trainer.model.state_dict())


def one_phase(rates: dict[str, float | None], epochs: int) -> Plan:
    phase = Phase(name="only", epochs=epochs, rates=rates)
    return Plan(strategy="x", start="head", groups=GROUPS, phases=(phase,))


def same(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def test_it_learns(make_trainer: Make) -> None:
    epochs = finish(make_trainer(Scratch(kind="scratch", lr=5e-3, epochs=12).plan(GROUPS), dropout=0.0))
    assert epochs[-1].train_loss < epochs[0].train_loss
    assert max(epoch.validation["accuracy"] for epoch in epochs) >= 0.9
    assert [epoch.epoch for epoch in epochs] == list(range(1, 13))


def test_equal_seeds_give_equal_bits_and_another_seed_does_not(make_trainer: Make) -> None:
    trainers = [make_trainer(STAGED, monitor="loss", seed=seed) for seed in (1, 1, 2)]
    for trainer in trainers:
        finish(trainer)
    first, second, other = (weights(trainer) for trainer in trainers)
    assert same(first, second)
    assert not same(first, other)


def test_frozen_groups_do_not_change_by_a_bit_buffers_included(make_trainer: Make) -> None:
    trainer = make_trainer(TOP)
    before = weights(trainer)
    finish(trainer)
    after = trainer.model.state_dict()
    for name in before:
        if ".stem." in name or ".middle." in name:
            assert torch.equal(before[name], after[name]), name
    assert not torch.equal(before["encoder.stages.top.2.weight"], after["encoder.stages.top.2.weight"])


@pytest.mark.parametrize("ema", [None, 0.9])
@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_interrupted_at_every_step_it_ends_with_the_same_bits(
    make_trainer: Make, tmp_path: Path, ema: float | None, optimizer: str
) -> None:
    whole = make_trainer(STAGED, ema=ema, optimizer=optimizer)
    history = finish(whole)
    keeper = Keeper("test", "key", root=tmp_path)
    seen: list[Epoch] = []
    for _ in itertools.count():
        trainer = make_trainer(STAGED, ema=ema, optimizer=optimizer)
        state = keeper.load()
        if state is not None:
            trainer.restore(state)
        torch.manual_seed(torch.seed())
        event = next(iter(trainer.run()), None)
        if event is None:
            break
        seen += [event] if isinstance(event, Epoch) else []
        keeper.save(trainer.state())
    assert same(weights(whole), weights(trainer))
    figures = [(epoch.step, epoch.train_loss, epoch.validation["loss"]) for epoch in history]
    assert [(epoch.step, epoch.train_loss, epoch.validation["loss"]) for epoch in seen] == figures


def test_the_best_weights_come_back(make_trainer: Make) -> None:
    trainer = make_trainer(Scratch(kind="scratch", lr=0.5, epochs=6).plan(GROUPS), optimizer="sgd", clip_norm=None)
    start = trainer.validate()
    epochs = finish(trainer)
    best = min([start[CALIBRATED], *(epoch.validation[CALIBRATED] for epoch in epochs)])
    assert trainer.validate()[CALIBRATED] == best


def test_a_plan_without_phases_hands_on_the_model_as_it_is(make_trainer: Make) -> None:
    trainer = make_trainer(HeadOnly(kind="head_only").plan(GROUPS))
    before = weights(trainer)
    assert finish(trainer) == []
    assert same(before, weights(trainer))


def scored(trainer: Trainer, figures: list[float]) -> list[Epoch]:
    """The epochs of a training whose validation accuracies are `figures`, the start's first."""
    coming = iter(figures)
    trainer._judge = lambda weights=None: {"loss": 1.0, "accuracy": next(coming)}  # type: ignore[method-assign]
    return finish(trainer)


STILL_LEARNING = one_phase({"stem": None, "middle": None, "top": 1e-3, HEAD: 1e-3}, 12)


def test_patience_ends_a_phase_and_the_next_one_starts(make_trainer: Make) -> None:
    strategy = AllLayers(kind="all_layers", lr=1e-8, gamma=1.0, stages=2, stage_epochs=12, epochs=12)
    trainer = make_trainer(strategy.plan(GROUPS), patience=2, monitor="accuracy", ema=0.999)
    epochs = finish(trainer)
    assert [epoch.phase for epoch in epochs] == ["top 2"] * 6 + ["all"] * 6  # four passes of grace, and two


@pytest.mark.parametrize(("warmup", "ends"), [(0.1, 6), (0.5, 8)])
def test_patience_counts_neither_the_warm_up_nor_the_first_third(make_trainer: Make, warmup: float, ends: int) -> None:
    trainer = make_trainer(STILL_LEARNING, patience=2, monitor="accuracy", warmup=warmup)
    assert len(scored(trainer, [0.9] + [0.5] * 12)) == ends


def test_what_climbs_below_its_start_is_not_out_of_patience(make_trainer: Make) -> None:
    figures = [0.3, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.97, 0.96, 0.96]
    trainer = make_trainer(STILL_LEARNING, patience=2, monitor="accuracy")
    assert len(scored(trainer, [0.95, *figures])) == 12
    assert (trainer.at.best_epoch, trainer.at.best["accuracy"]) == (10, 0.97)
    assert trainer.selection.ending is not None
    assert not trainer.selection.ending.kept_start


def test_without_patience_a_phase_runs_to_its_end(make_trainer: Make) -> None:
    trainer = make_trainer(STILL_LEARNING, patience=None, monitor="accuracy")
    assert len(scored(trainer, [0.9] + [0.5] * 12)) == 12


@pytest.mark.parametrize(("figures", "kept"), [([0.6, 0.7, 0.8], True), ([0.6, 0.9, 0.8], False), ([0.95] * 3, False)])
def test_the_start_is_kept_only_if_every_epoch_is_worse_and_it_is_said(
    make_trainer: Make, figures: list[float], kept: bool
) -> None:
    plan = one_phase({"stem": None, "middle": None, "top": 1e-3, HEAD: 1e-3}, 3)
    trainer = make_trainer(plan, monitor="accuracy")
    before = weights(trainer)
    scored(trainer, [0.9, *figures])
    ending = trainer.selection.ending
    assert ending is not None
    assert ending.kept_start is kept is same(before, weights(trainer))
    assert (ending.describe()[0].startswith("ended where it started")) is kept


def test_lower_is_better_where_it_is(make_trainer: Make) -> None:
    plan = Scratch(kind="scratch", lr=5e-3, epochs=6).plan(GROUPS)
    for name in ("log_loss", "brier", "ece"):
        trainer = make_trainer(plan, monitor=name)
        values = [trainer.validate()[name], *(epoch.validation[name] for epoch in finish(trainer))]
        assert len(set(values)) > 1
        assert trainer.at.best[name] == min(values)


def test_every_trainable_tensor_is_in_exactly_one_optimizer_group(make_trainer: Make) -> None:
    trainer = make_trainer(STAGED)
    held = [id(tensor) for group in trainer.update.optimizer.param_groups for tensor in group["params"]]
    assert len(held) == len(set(held))
    assert set(held) == {id(parameter) for parameter in trainer.model.parameters()}


def test_norms_and_biases_have_no_weight_decay(make_trainer: Make) -> None:
    for group in make_trainer(STAGED).update.optimizer.param_groups:
        assert group["weight_decay"] == (0.05 if group["params"][0].ndim > 1 else 0.0)


def test_groups_train_at_the_rates_of_the_plan(make_trainer: Make) -> None:
    trainer = make_trainer(STAGED, schedule="constant", warmup=0.0)
    next(event for event in trainer.run() if isinstance(event, Step))
    rates = {group["layer_group"]: group["lr"] for group in trainer.update.optimizer.param_groups}
    assert rates == {name: rate or 0.0 for name, rate in STAGED.phases[0].rates.items()}


def test_moments_survive_the_unfreeze(make_trainer: Make) -> None:
    trainer = make_trainer(STAGED)
    for event in trainer.run():
        if isinstance(event, Epoch) and event.phase == "all":
            break
    counts = {
        group["layer_group"]: int(trainer.update.optimizer.state[group["params"][0]]["step"])
        for group in trainer.update.optimizer.param_groups
    }
    assert counts["top"] == counts[HEAD] == 12
    assert counts["stem"] == 4


def test_a_loss_that_is_not_a_number_is_an_error_that_says_what_to_do(make_trainer: Make) -> None:
    rates = dict.fromkeys((*GROUPS, HEAD), 1e9)
    trainer = make_trainer(one_phase(rates, epochs=9), optimizer="sgd", clip_norm=None)
    with pytest.raises(ConfigError, match="lower `lr`"):
        finish(trainer)


def test_the_ends_of_params_are_used(make_trainer: Make) -> None:
    plan = Scratch(kind="scratch", lr=3e-3, epochs=2).plan(GROUPS)
    augment = make_trainer(plan).training.augment
    changes: list[dict[str, object]] = [
        {"batch_size": 6}, {"optimizer": "sgd"}, {"weight_decay": 0.5}, {"schedule": "linear"}, {"warmup": 0.5},
        {"label_smoothing": 0.3}, {"clip_norm": 0.01}, {"balance": "sampling"}, {"dropout": 0.5}, {"ema": 0.5},
        *({"augment": augment.model_copy(update=each)} for each in (
            {"flip": False}, {"zoom": (0.5, 1.1)}, {"rotate": 45.0}, {"shift": 0.3}, {"brightness": 0.7},
            {"mixup": 0.0}, {"cutmix": 0.0})),
    ]  # fmt: skip
    reference = make_trainer(plan)
    finish(reference)
    for change in changes:
        trainer = make_trainer(plan, **change)
        finish(trainer)
        assert not same(weights(reference), weights(trainer)), change


def test_source_statistics_stay_while_the_weights_beside_them_train(make_trainer: Make) -> None:
    plan = AllLayers(kind="all_layers", lr=3e-3, gamma=1.0, stages=1, epochs=2).plan(GROUPS)
    kept, updated = make_trainer(plan, norm_statistics="source"), make_trainer(plan, norm_statistics="batch")
    before = weights(kept)
    for trainer in (kept, updated):
        for _ in itertools.islice(trainer.run(), 3):
            pass
    name = "encoder.stages.stem.1.running_mean"
    assert torch.equal(before[name], kept.model.state_dict()[name])
    assert not torch.equal(before[name], updated.model.state_dict()[name])
    assert not torch.equal(
        before["encoder.stages.stem.1.weight"], kept.model.state_dict()["encoder.stages.stem.1.weight"]
    )


def test_fresh_weights_always_use_the_batches_statistics(make_trainer: Make) -> None:
    trainer = make_trainer(Scratch(kind="scratch", lr=3e-3, epochs=2).plan(GROUPS), norm_statistics="source")
    before = weights(trainer)
    next(iter(trainer.run()))
    name = "encoder.stages.stem.1.running_mean"
    assert not torch.equal(before[name], trainer.model.state_dict()[name])


def test_a_frozen_head_stays(make_trainer: Make) -> None:
    rates = {"stem": None, "middle": None, "top": 1e-2, HEAD: None}
    trainer = make_trainer(
        Plan(strategy="x", start="head", groups=GROUPS, phases=(Phase(name="top", epochs=2, rates=rates),))
    )
    before = weights(trainer)
    finish(trainer)
    assert torch.equal(before["head.1.weight"], trainer.model.state_dict()["head.1.weight"])


def test_counts_add_up(make_trainer: Make) -> None:
    model = make_trainer(TOP).model
    assert sum(count_parameters(model).values()) == sum(parameter.numel() for parameter in model.parameters())
    assert [name for name, _ in layer_groups(model)] == [*GROUPS, HEAD]
