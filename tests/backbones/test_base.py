"""What every backbone can do by itself."""

import torch

from tlpipe.backbones.letters import Letters


def test_a_skeleton_has_no_storage_and_draws_no_random_numbers():
    before = torch.random.get_rng_state()
    encoder = Letters(width=256).skeleton()
    assert {parameter.device.type for parameter in encoder.parameters()} == {"meta"}
    assert torch.equal(before, torch.random.get_rng_state())
