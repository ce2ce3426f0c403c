"""Faster operations, the same functions."""

import copy

import pytest
import torch
from torch import Tensor, nn

from tlpipe.backbones import lean
from tlpipe.backbones.base import Encoder, SequentialEncoder
from tlpipe.train.hardware import device
from tlpipe.train.hardware.convolution import FoldedNorm, Quick, quicken
from tlpipe.train.hardware.device import Machine, Runtime
from tlpipe.train.hardware.memory import hold_on


def network() -> Encoder:
    """A strided depthwise convolution with a norm after it, and a convolution whose result is used twice."""
    torch.manual_seed(0)
    block = nn.Sequential(nn.Conv2d(8, 8, 3, 2, 1, groups=8, bias=False), nn.BatchNorm2d(8), nn.ReLU6())
    encoder = SequentialEncoder(
        {"stem": nn.Sequential(nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8)), "block": block, "branch": Branch()}, 8
    )
    for norm in encoder.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.uniform_(norm.weight, 0.5, 2)
            nn.init.normal_(norm.bias)
            norm.running_mean = torch.randn(8)
            norm.running_var = torch.rand(8) + 0.5
    return encoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


class Branch(nn.Module):
    """conv(x) + norm(conv(x))"""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        y: Tensor = x + self.norm(x)
        return y


def gradients(encoder: Encoder, x: Tensor, bf16: bool = False) -> tuple[Tensor, dict[str, Tensor]]:
    x = x.clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        y = encoder(x).float()
    (y * torch.linspace(-1, 1, y.numel()).view_as(y)).sum().backward()
    named = {name: each.grad for name, each in encoder.named_parameters() if each.grad is not None}
    assert x.grad is not None
    return y.detach(), {**named, "x": x.grad}


@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_outputs_gradients_and_state_are_those_of_the_plain_network(bf16: bool, training: bool) -> None:
    plain, x = network().train(training), torch.randn(4, 3, 9, 9)
    quick = copy.deepcopy(plain)
    quicken(quick)
    assert list(quick.state_dict()) == list(plain.state_dict())
    (before, expected), (after, found) = gradients(plain, x, bf16), gradients(quick, x, bf16)
    assert found.keys() == expected.keys()
    share = 0.05 if bf16 else 1e-4
    assert torch.allclose(before, after, atol=share * float(before.abs().max()))
    for name, value in expected.items():
        assert torch.allclose(value, found[name], atol=share * max(1e-3, float(value.abs().max()))), name
    for name, value in plain.state_dict().items():
        assert torch.allclose(value.float(), quick.state_dict()[name].float(), rtol=share, atol=share), name


def test_only_a_norm_that_sees_all_of_a_convolution_is_folded() -> None:
    encoder = network()
    quicken(encoder)
    folded = [name for name, module in encoder.named_modules() if type(module) is FoldedNorm]
    assert folded == ["stages.stem.1", "stages.block.1"]
    assert type(encoder.get_submodule("stages.branch.conv")) is nn.Conv2d


def test_a_copy_has_pairs_of_its_own_and_a_second_time_changes_nothing() -> None:
    encoder = network().eval()
    quicken(encoder)
    again = copy.deepcopy(encoder)
    quicken(again)
    for name, module in again.named_modules():
        if isinstance(module, Quick):
            assert module.__dict__["norm"] is again.get_submodule(f"{name[:-1]}1")
    assert torch.equal(encoder(x := torch.ones(1, 3, 8, 8)), again(x))


def test_a_norm_that_trains_alone_has_its_gradient() -> None:
    plain, x = network().eval(), torch.randn(2, 3, 8, 8)
    for name, each in plain.named_parameters():
        each.requires_grad_(name.split(".")[-2] in ("1", "norm"))
    quick = copy.deepcopy(plain)
    quicken(quick)
    expected, found = gradients(plain, x)[1], gradients(quick, x)[1]
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.allclose(value, found[name], rtol=1e-4, atol=1e-4), name


def test_memory_is_held_where_there_is_glibc() -> None:
    assert isinstance(hold_on(), bool)
    assert hold_on() == hold_on()


@pytest.fixture
def resolved(monkeypatch: pytest.MonkeyPatch) -> dict[bool, Machine]:
    """The machine with and without what `runtime.cpu_tricks` switches off."""
    monkeypatch.setattr(lean, "_lean", True)  # as it was, afterwards
    held: list[str] = []
    monkeypatch.setattr(device, "hold_on", lambda: held.append("memory"))
    monkeypatch.setattr(device, "lean_optimizers", lambda: held.append("optimizers"))
    machines = {}
    for tricks in (True, False):
        held.clear()
        machines[tricks] = Runtime(device="cpu", precision="fp32", threads=1, cpu_tricks=tricks).resolve()
        assert held == (["memory", "optimizers"] if tricks else [])
        assert lean._lean is tricks
    return machines


@pytest.mark.parametrize("training", [False, True])
def test_without_tricks_nothing_is_replaced_and_the_same_comes_out(
    resolved: dict[bool, Machine], training: bool
) -> None:
    given, x = network().train(training), torch.randn(4, 3, 9, 9)
    before = {name: (type(module), set(vars(module))) for name, module in given.named_modules()}
    placed = {tricks: machine.place(copy.deepcopy(given)) for tricks, machine in resolved.items()}
    after = {name: (type(module), set(vars(module))) for name, module in placed[False].named_modules()}
    assert after == before
    assert {type(module) for module in placed[True].modules()} > {Quick, FoldedNorm}
    (quick, expected), (plain, found) = gradients(placed[True], x), gradients(placed[False], x)
    assert torch.allclose(quick, plain, atol=1e-5 * float(plain.abs().max()))
    for name, value in expected.items():
        assert torch.allclose(value, found[name], atol=1e-4 * max(1e-3, float(value.abs().max()))), name


def test_without_tricks_steps_are_the_optimizers_own(monkeypatch: pytest.MonkeyPatch) -> None:
    weight = torch.ones(3, requires_grad=True)
    optimizer = torch.optim.SGD([weight], lr=0.5)
    seen: list[torch.optim.Optimizer] = []
    optimizer.register_step_post_hook(lambda stepped, *_: seen.append(stepped))
    for plain, hooks in ((False, []), (True, [optimizer])):
        monkeypatch.setattr(lean, "_lean", not plain)
        weight.grad = torch.ones(3)
        lean.step(optimizer)
        assert seen == hooks
    assert weight.tolist() == [0.0, 0.0, 0.0]
