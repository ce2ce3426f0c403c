import sys
from collections.abc import Callable
from typing import Any

import pytest
import timm
import torch
from torch import Tensor

from tlpipe.backbones.partition import CHAINS
from tlpipe.backbones.timm import build, headless

# timm ships tiny members of its big families for tests; one of them, and one without a coarse matcher, runs as a whole.
SMALL = {
    "test_byobnet": 64,
    "test_convnext2": 64,
    "test_efficientnet": 64,
    "test_resnet": 64,
    "test_vit": 160,
    "test_vit_relpos": 160,
}
LARGE = {
    "test_mambaout": 64,
    "test_nfnet": 64,
    "deit_tiny_distilled_patch16_224": 112,
    "densenet121": 64,
    "mobilenetv3_small_050": 64,
    "pit_ti_224": 224,
    "poolformer_s12": 64,
    "rdnet_tiny": 64,
    "regnety_002": 64,
    "swin_tiny_patch4_window7_224": 112,
    "swinv2_tiny_window8_256": 128,
    "test_maxvit": 160,
    "vit_small_patch16_dinov3": 64,
}
OPAQUE = {"pit_ti_224", "test_vit_relpos", "vit_small_patch16_dinov3"}


@pytest.mark.parametrize("name", [*SMALL, *(pytest.param(name, marks=pytest.mark.slow) for name in LARGE)])
def test_encoder_keeps_its_contract_and_timms_bits(name: str, contract: Any, images: Callable[[int], Tensor]) -> None:
    size = (SMALL | LARGE)[name]
    x = images(size)
    model = build(name, size).eval()
    classified = model.num_classes > 0
    contract.randomise(model)
    with torch.no_grad():
        expected = model.forward_head(model.forward_features(x), pre_logits=True)
        encoder, skipped = headless(model)
        assert torch.equal(encoder.eval()(x), expected)
    assert bool(skipped) == classified
    assert (len(encoder.cuts) == 2) == (name in OPAQUE)
    contract.holds(encoder, x)
    contract.rebuilds(lambda: headless(build(name, size))[0], x)


def test_groups_are_named_for_people() -> None:
    assert headless(build("test_resnet"))[0].groups == ("stem", "layer1", "layer2", "layer3", "layer4")
    assert headless(build("test_vit"))[0].groups == ("stem", *(f"blocks{i}" for i in range(6)))


def test_a_group_boundary_that_is_no_cut_is_refused(images: Callable[[int], Tensor]) -> None:
    encoder, _ = headless(build("test_vit_relpos"))
    with pytest.raises(KeyError):
        encoder.run(images(160), 0, 3)


def test_drop_path_of_a_frozen_block_is_off_and_of_a_free_block_on(images: Callable[[int], Tensor]) -> None:
    model = timm.create_model("test_vit", drop_path_rate=0.9, proj_drop_rate=0.5)
    encoder, _ = headless(model)
    x = images(160)
    with torch.no_grad():
        encoder.freeze(encoder.groups[:4]).train()
        assert torch.equal(encoder.run(x, 0, 4), encoder.run(x, 0, 4))
        middle = encoder.run(x, 0, 4)
        assert not torch.equal(encoder.run(middle, 4), encoder.run(middle, 4))


def test_every_chain_names_a_class_of_timm() -> None:
    assert set(CHAINS) <= {name for module in _modules() for name in vars(module)}


def _modules() -> list:
    return [module for name, module in sys.modules.items() if name.startswith("timm.models.")]
