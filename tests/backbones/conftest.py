"""What every encoder has to hold, whatever it was made of; tests get it as the fixture `contract`."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from tlpipe.backbones.base import Encoder


class Contract:
    """The promises of tlpipe.backbones.base.Encoder, one method each."""

    @staticmethod
    def randomise(module: nn.Module) -> None:
        """Fresh BatchNorm statistics are 0 and 1: under those a wrong order could agree by luck."""
        for part in module.modules():
            if isinstance(getattr(part, "running_mean", None), Tensor):
                part.running_mean.normal_(0, 0.1)
                part.running_var.uniform_(0.5, 2)

    @staticmethod
    def partitions(encoder: Encoder) -> None:
        owned = [parameter for group in encoder.groups for _, parameter in encoder.parameters_of(group)]
        assert sorted(map(id, owned)) == sorted(id(parameter) for parameter in encoder.parameters())
        named = {name: p for group in encoder.groups for name, p in encoder.parameters_of(group)}
        assert {name: id(p) for name, p in named.items()} == {n: id(p) for n, p in encoder.named_parameters()}
        covered = [id(module) for group in encoder.groups for _, module in encoder.members(group)]
        containers = {id(encoder), id(getattr(encoder, "stages", encoder))}
        assert sorted(covered) == sorted({id(module) for module in encoder.modules()} - containers)
        assert all(any(True for _ in encoder.parameters_of(group)) for group in encoder.groups)
        assert len(set(encoder.groups)) == len(encoder.groups)

    @staticmethod
    def runs_by_group(encoder: Encoder, x: Tensor) -> None:
        """At every cut the same bits, and no part writes into its input: cached activations have to survive."""
        encoder.eval()
        assert encoder.cuts[0] == 0
        assert encoder.cuts[-1] == len(encoder.groups)
        with torch.no_grad():
            whole = encoder(x)
            assert whole.shape == (len(x), encoder.feature_dim)
            for cut in encoder.cuts:
                middle = encoder.run(x, 0, cut) if cut else x
                before = middle.clone()
                rest = encoder.run(middle, cut) if cut < len(encoder.groups) else middle
                assert torch.equal(rest, whole), cut
                if 0 < cut < len(encoder.groups):
                    assert torch.equal(before, middle), f"group {encoder.groups[cut]} writes into its input"
            depths = list(encoder.depths(x))
        assert [name for name, _ in depths] == [encoder.groups[cut - 1] for cut in encoder.cuts[1:]]
        assert all(features.ndim == 2 for _, features in depths)
        assert torch.equal(depths[-1][1], whole)

    @staticmethod
    def parts_use_their_own(encoder: Encoder, x: Tensor) -> None:
        """What runs between two cuts depends on the parameters of the groups between them, and on no others."""
        encoder.freeze(()).eval()
        names = {id(p): group for group in encoder.groups for _, p in encoder.parameters_of(group)}
        parameters = list(encoder.parameters())
        for start, stop in zip(encoder.cuts, encoder.cuts[1:], strict=False):
            out = encoder.run(x, start, stop)
            grads = torch.autograd.grad(out.square().sum(), parameters, allow_unused=True)
            used = {names[id(p)] for p, grad in zip(parameters, grads, strict=True) if grad is not None}
            assert used == set(encoder.groups[start:stop])
            x = out.detach()

    @staticmethod
    def frozen_is_pure(encoder: Encoder, x: Tensor) -> None:
        """Frozen: train mode gives the bits of eval mode, whatever else is in the batch, and moves no statistics."""
        encoder.freeze(encoder.groups)
        state = {name: value.clone() for name, value in encoder.state_dict().items()}
        with torch.no_grad():
            expected = encoder.eval()(x)
            encoder.train()
            assert torch.equal(encoder(x), expected)
            others = torch.cat([x[:1], torch.randn(x[1:].shape, generator=torch.Generator().manual_seed(7)) * 5])
            assert torch.equal(encoder(others)[:1], expected[:1])
        assert all(torch.equal(value, state[name]) for name, value in encoder.state_dict().items())

    @staticmethod
    def freezes_exactly(encoder: Encoder, x: Tensor) -> None:
        """Bottom half frozen: pure in train mode, no gradients; the top half trains; train() changes neither."""
        half = next((cut for cut in encoder.cuts if cut >= len(encoder.groups) // 2), len(encoder.groups))
        half = max(half, 1)
        bottom = encoder.groups[:half]
        encoder.freeze(bottom).train().train()
        for group in encoder.groups:
            frozen = group in bottom
            assert all(p.requires_grad != frozen for _, p in encoder.parameters_of(group))
            assert all(module.training != frozen for _, module in encoder.members(group))
        with torch.no_grad():
            trained = encoder.run(x, 0, half)
            assert torch.equal(trained, encoder.eval().run(x, 0, half))
        encoder.freeze(()).train()
        assert all(p.requires_grad for p in encoder.parameters())
        assert all(module.training for group in encoder.groups for _, module in encoder.members(group))

    @classmethod
    def holds(cls, encoder: Encoder, x: Tensor) -> None:
        """Everything above."""
        cls.randomise(encoder)
        cls.partitions(encoder)
        cls.runs_by_group(encoder, x)
        cls.parts_use_their_own(encoder, x)
        cls.frozen_is_pure(encoder, x)
        cls.freezes_exactly(encoder, x)

    @classmethod
    def rebuilds(cls, build: Callable[[], Encoder], x: Tensor) -> None:
        """State goes into a second encoder; on the meta device groups and counts are the same."""
        first = build().eval()
        cls.randomise(first)
        second = build().eval()
        second.load_state_dict(first.state_dict())
        with torch.no_grad():
            assert torch.equal(first(x), second(x))
        with torch.device("meta"):
            empty = build()
        assert (empty.groups, empty.cuts, empty.feature_dim) == (first.groups, first.cuts, first.feature_dim)
        assert _counts(empty) == _counts(first)
        assert all(parameter.device.type == "meta" for parameter in empty.parameters())


def _counts(encoder: Encoder) -> dict[str, int]:
    return {group: sum(p.numel() for _, p in encoder.parameters_of(group)) for group in encoder.groups}


@pytest.fixture(scope="session")
def contract() -> type[Contract]:
    return Contract


@pytest.fixture
def images() -> Callable[[int], Tensor]:
    """Random normalised inputs (3, 3, size, size), the same each time; also seeds torch for the model."""

    def make(size: int) -> Tensor:
        torch.manual_seed(0)
        return torch.randn(3, 3, size, size)

    return make
