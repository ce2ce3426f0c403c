"""Forward passes as evidence: the same features as always, weights that come back, shifts and shares by hand."""

import numpy as np
import pytest
import torch
from torch import nn

from tests.advise.conftest import GROUPS, small_encoder
from tlpipe.advise.passes import STEP, input_shift, look, shares, stepped, tangents
from tlpipe.backbones.base import SequentialEncoder
from tlpipe.data.packed import Packed
from tlpipe.train.hardware.batch_fitting import Halved
from tlpipe.train.hardware.device import Machine

ROWS = np.arange(60)


def test_features_are_those_of_the_encoder_at_every_depth(packed: Packed, machine: Machine) -> None:
    encoder = small_encoder().eval()
    found = look(encoder, packed, ROWS[3:9], machine)
    view = packed.preprocess.normalise(packed.samples[3:9])
    expected = dict(encoder.depths(torch.from_numpy(view)))
    assert tuple(found.depths) == GROUPS
    assert found.seconds > 0
    for group, features in found.depths.items():
        assert np.abs(features - expected[group].numpy()).max() < 1e-5


def test_what_does_not_fit_leaves_no_trace(packed: Packed, machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = small_encoder()
    shift = input_shift(encoder, packed, ROWS, machine)
    forward = encoder.stages["top"].forward

    def small(x: torch.Tensor) -> torch.Tensor:
        if len(x) > 40:
            raise torch.OutOfMemoryError("no room")
        return forward(x)

    monkeypatch.setattr(encoder.stages["top"], "forward", small)
    with pytest.warns(Halved):
        assert input_shift(encoder, packed, ROWS, machine) == pytest.approx(shift, rel=1e-6)


def test_a_step_is_small_and_taken_back(packed: Packed, machine: Machine) -> None:
    encoder = small_encoder()
    before = {name: value.detach().clone() for name, value in encoder.named_parameters()}
    with stepped(encoder, seed=0, direction=1) as moved:
        for name, value in moved.named_parameters():
            length = float((value - before[name]).norm().detach())
            assert abs(length - STEP * float(before[name].norm())) < 1e-4
    assert all(torch.equal(value, before[name]) for name, value in encoder.named_parameters())


def test_tangents_are_the_derivative_along_a_direction(packed: Packed, machine: Machine) -> None:
    encoder = small_encoder()
    change = tangents(encoder, packed, ROWS[:8], machine, seed=4, directions=2)
    start = {name: value.detach().clone() for name, value in encoder.named_parameters()}
    with stepped(encoder, 4, 1):
        direction = {name: (value - start[name]).detach().double() / STEP for name, value in encoder.named_parameters()}
    view = torch.from_numpy(packed.preprocess.normalise(packed.samples[:8])).double()
    tiny, ends = 1e-6, []
    for sign in (1, -1):
        moved = {name: value.double() + sign * tiny * direction[name] for name, value in start.items()}
        with torch.no_grad():
            ends.append(torch.func.functional_call(encoder.eval().double(), moved, (view,)))
    exact = ((ends[0] - ends[1]) / (2 * tiny)).numpy()
    assert len(change) == 2
    assert np.abs(change[1] - exact).max() < 0.1 * np.abs(exact).max()


def test_the_shift_is_none_without_norms_and_zero_on_the_source(packed: Packed, machine: Machine) -> None:
    plain = SequentialEncoder({"flat": nn.Flatten(), "linear": nn.Linear(3 * 16 * 16, 4)}, 4)
    assert input_shift(plain, packed, ROWS, machine) is None
    encoder = small_encoder()
    far = input_shift(encoder, packed, ROWS, machine)
    encoder.train()
    for norm in (encoder.stages["stem"][1], encoder.stages["middle"][1]):
        norm.momentum = None
    with torch.no_grad():
        encoder(torch.from_numpy(packed.preprocess.normalise(packed.samples[ROWS])))
    near = input_shift(encoder, packed, ROWS, machine)
    assert near < 0.05 < 0.3 < far


def test_shares_grow_to_one_and_count_operations(packed: Packed, machine: Machine) -> None:
    found = shares(small_encoder(), packed, machine)
    first, second, third = 8 * 8 * 8 * 27, 4 * 4 * 12 * 72, 48 * 10
    total = first + second + third
    assert found[0] == 0
    assert abs(found[1] - first / total) < 1e-9
    assert abs(found[2] - (first + second) / total) < 1e-9
    assert found[3] == 1
