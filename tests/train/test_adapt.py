"""What trains of a layer group; low-rank adapters against the textbook's."""

import copy
import itertools
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from tlpipe.strategies.partial import FirstBlock, LowRank, NormOnly
from tlpipe.strategies.plan import HEAD, L2SP, Plan
from tlpipe.strategies.unfreeze import AllLayers
from tlpipe.train.trainer.loop import Trainer
from tlpipe.train.trainer.trainable import Adapters, adapted, apply_freeze, sizes

GROUPS = ("stem", "middle", "top")
Make = Callable[..., Trainer]
NORMS = NormOnly(kind="norm_only", lr=1e-2, epochs=2).plan(GROUPS)
LORA = LowRank(kind="lora", rank=2, alpha=4.0, lr=1e-2, epochs=2).plan(GROUPS)
FIRST = FirstBlock(kind="first_block", lr=1e-2, epochs=2).plan(GROUPS)
MIDDLE = FirstBlock(kind="first_block", group="middle", lr=1e-2, epochs=2).plan(GROUPS)
PARTIAL = {"norms": NORMS, "lora": LORA, "first": FIRST, "middle": MIDDLE}


def finish(trainer: Trainer) -> dict[str, Tensor]:
    for _ in trainer.run():
        pass
    return trainer.model.state_dict()


def moving(trainer: Trainer, plan: Plan) -> set[str]:
    """Names in the state of the tensors that the plan's phase may move."""
    phase = plan.phases[0]
    pairs = [adapted(trainer.model, group, phase.adapt_of(group), plan.lora) for group in phase.trainable]
    ids = {id(parameter) for group in pairs for _, parameter in group}
    return {name for name, parameter in trainer.model.named_parameters() if id(parameter) in ids}


@pytest.mark.parametrize("plan", PARTIAL.values(), ids=PARTIAL.keys())
@pytest.mark.parametrize("statistics", ["source", "batch"])
def test_what_does_not_train_keeps_its_bits(make_trainer: Make, plan: Plan, statistics: str) -> None:
    trainer = make_trainer(plan, norm_statistics=statistics, monitor="accuracy", clip_norm=None)
    trainer.at.best = {"accuracy": -1.0, "loss": float("inf")}
    before, names = copy.deepcopy(trainer.model.state_dict()), moving(trainer, plan)
    after = finish(trainer)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    buffers = {name for name, _ in trainer.model.named_buffers()}
    assert names
    assert changed - buffers == names
    frozen = {name for name in buffers for group in plan.phases[0].frozen if f".{group}." in name}
    assert not changed & (buffers if statistics == "source" else frozen)


def test_norm_only_trains_the_norms_of_every_group(make_trainer: Make) -> None:
    trainer = make_trainer(NORMS)
    inner = {name for name in moving(trainer, NORMS) if name.startswith("encoder")}
    assert inner == {
        f"encoder.stages.{place}.{kind}" for place in ("stem.1", "middle.1", "top.3") for kind in ("weight", "bias")
    }
    found = sizes(trainer.model, NORMS)
    assert [found[group].norms for group in GROUPS] == [16, 32, 32]


def test_sizes_of_adapters_are_rank_times_rows_and_columns(make_trainer: Make) -> None:
    found = sizes(make_trainer(LORA).model, LORA)
    assert found["stem"].adapters == 2 * (8 + 3 * 9)
    assert found["middle"].adapters == 2 * (16 + 8 * 9)
    assert found["top"].adapters == 2 * (16 + 64)
    assert found[HEAD].adapters == 0


def test_the_factors_are_what_the_optimizer_holds(make_trainer: Make) -> None:
    trainer = make_trainer(LORA)
    held = sum(t.numel() for group in trainer.update.optimizer.param_groups for t in group["params"])
    found = sizes(trainer.model, LORA)
    assert held == sum(found[group].adapters for group in GROUPS) + found[HEAD].total


def test_a_step_is_that_of_adapters_beside_the_layer() -> None:
    torch.manual_seed(0)
    layer, x, y = nn.Linear(6, 5), torch.randn(7, 6), torch.randn(7, 5)
    spec = LORA.lora
    assert spec is not None
    adapters = Adapters([("weight", layer.weight)], spec, seed=1)
    a, b = (nn.Parameter(each.detach().clone()) for each in adapters.of(["weight"]))
    before, scale = layer.weight.detach().clone(), spec.alpha / spec.rank
    ours = torch.optim.SGD(adapters.of(["weight"]), lr=0.1)
    theirs = torch.optim.SGD([a, b], lr=0.1)
    for _ in range(5):
        layer.zero_grad()
        (layer(x) - y).square().mean().backward()
        adapters.pull()
        ours.step()
        adapters.merge()
        theirs.zero_grad()
        (x @ before.T + scale * x @ a.T @ b.T + layer.bias.detach() - y).square().mean().backward()
        theirs.step()
        assert torch.allclose(layer.weight, before + scale * b @ a, atol=1e-6)
    assert not torch.equal(layer.weight, before)


def test_the_change_has_no_more_than_the_rank(make_trainer: Make) -> None:
    trainer = make_trainer(LORA, monitor="accuracy", clip_norm=None)
    trainer.at.best = {"accuracy": -1.0, "loss": float("inf")}
    name = "encoder.stages.top.2.weight"
    before = trainer.model.state_dict()[name].clone()
    change = finish(trainer)[name] - before
    assert int(torch.linalg.matrix_rank(change.double(), rtol=1e-4)) == 2


def test_embeddings_and_thin_matrices_take_no_adapter(make_trainer: Make) -> None:
    model = make_trainer(LORA).model
    model.encoder.stages["stem"].append(nn.Embedding(50, 8))  # type: ignore[union-attr]
    model.encoder.stages["stem"].append(nn.Linear(50, 2))  # type: ignore[union-attr]
    names = [name for name, _ in adapted(model, "stem", "lora", LORA.lora)]
    assert names == ["stages.stem.0.weight"]


@pytest.mark.parametrize("plan", PARTIAL.values(), ids=PARTIAL.keys())
@pytest.mark.parametrize("penalty", [None, L2SP(alpha=0.1, beta=0.01)], ids=["decay", "l2_sp"])
def test_interrupted_at_every_step_it_ends_with_the_same_bits(
    make_trainer: Make, plan: Plan, penalty: L2SP | None
) -> None:
    plan = plan.model_copy(update={"l2_sp": penalty, "wise_ft": True, "soup": 2})
    whole = make_trainer(plan)
    finish(whole)
    state = None
    for _ in itertools.count():
        trainer = make_trainer(plan)
        if state is not None:
            trainer.restore(state)
        if next(iter(trainer.run()), None) is None:
            break
        state = copy.deepcopy(trainer.state())
    expected, found = whole.model.state_dict(), trainer.model.state_dict()
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    assert whole.selection.ending == trainer.selection.ending


def test_what_is_frozen_beside_norms_has_no_gradient(make_trainer: Make) -> None:
    model = make_trainer(NORMS).model
    apply_freeze(model, NORMS.phases[0])
    trains = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert "encoder.stages.stem.1.weight" in trains
    assert "encoder.stages.stem.0.weight" not in trains
    assert "head.1.weight" in trains


def test_l2_sp_holds_the_weights_near_the_start(make_trainer: Make) -> None:
    plan = AllLayers(kind="all_layers", lr=1e-2, gamma=1.0, stages=1, epochs=3).plan(GROUPS)
    moved = []
    for alpha in (None, 0.1, 10.0):
        penalty = None if alpha is None else L2SP(alpha=alpha, beta=0.0)
        trainer = make_trainer(plan.model_copy(update={"l2_sp": penalty}), optimizer="sgd", clip_norm=None)
        before = copy.deepcopy(trainer.model.encoder.state_dict())
        for _ in trainer.run():
            now = {name: value.detach().clone() for name, value in trainer.model.encoder.named_parameters()}
        moved.append(sum(float((now[name] - before[name]).square().sum()) for name in now))
    assert moved[0] > moved[1] > moved[2]


def test_l2_sp_is_the_gradient_of_its_penalty(make_trainer: Make) -> None:
    plan = AllLayers(kind="all_layers", lr=0.5, gamma=1.0, stages=1, epochs=1).plan(GROUPS)
    trainer = make_trainer(plan.model_copy(update={"l2_sp": L2SP(alpha=0.3, beta=0.2)}), clip_norm=None)
    update, model = trainer.update, trainer.model
    start = {name: value.detach().clone() for name, value in model.named_parameters()}
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1)
            parameter.grad = torch.zeros_like(parameter)
    update.step(plan.phases[0], 0.0)
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None
        if name.startswith("encoder"):
            assert torch.allclose(parameter.grad, 0.3 * (parameter - start[name]))
        else:
            assert torch.allclose(parameter.grad, 0.2 * parameter if parameter.ndim > 1 else torch.zeros(()))
