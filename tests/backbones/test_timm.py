import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from torch import Tensor

from tlpipe.backbones.timm import Timm, build, tag_of
from tlpipe.config import ConfigError


@pytest.mark.parametrize(
    "name", ["resnet18.tv_in1k", "vit_base_patch16_clip_224.openai", "vit_base_patch16_siglip_224"]
)
def test_preprocessing_is_timms_evaluation_transform(name: str) -> None:
    _, config = tag_of(name)
    data = timm.data.resolve_data_config(pretrained_cfg=config.to_dict())
    image = np.random.default_rng(0).integers(0, 256, (60, 90, 3), np.uint8)
    expected = timm.data.create_transform(**data)(Image.fromarray(image)).numpy()
    given = Timm(name=name).preprocess()(image)
    assert given.shape == expected.shape
    assert np.abs(given - expected).max() < 1e-5


def test_an_architecture_alone_is_its_default_tag() -> None:
    assert tag_of("resnet18")[0] == "resnet18.a1_in1k"
    assert Timm(name="resnet18", size=95).preprocess().resize_to == 100


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet81", "no model 'resnet81'; did you mean 'resnet18"),
        ("resnet18.a1_in2k", "no pretrained weights 'resnet18.a1_in2k'; did you mean 'resnet18.a1_in1k'"),
        ("vit_base_patch8_224.nosuch", "has: vit_base_patch8_224"),
    ],
)
def test_unknown_names_are_refused_with_the_nearest(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Timm(name=name).encoder()


def test_border_crop_is_refused() -> None:
    border = next(name for name in timm.list_pretrained("*") if tag_of_mode(name) == "border")
    with pytest.raises(ConfigError, match="wants crop mode 'border'; supported: center, squash"):
        Timm(name=border).preprocess()


def tag_of_mode(name: str) -> str:
    return timm.get_pretrained_cfg(name).crop_mode


def _publish(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, model: torch.nn.Module, name: str) -> None:
    """The tag's weights as a local file, where timm's registry has a hub id."""
    path = tmp_path / "weights.pth"
    torch.save(model.state_dict(), path)
    registry = timm.models._registry._model_pretrained_cfgs
    monkeypatch.setitem(registry, name, dataclasses.replace(registry[name], file=str(path)))


def test_pretrained_lays_the_tags_weights_over_the_encoder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, contract: Any, images: Callable[[int], Tensor]
) -> None:
    x = images(64)
    source = build("test_resnet").eval()
    contract.randomise(source)
    _publish(monkeypatch, tmp_path, source, "test_resnet.r160_in1k")
    encoder, provenance = Timm(name="test_resnet").pretrained()
    source.reset_classifier(0)
    with torch.no_grad():
        assert torch.equal(encoder.eval()(x), source(x))
    assert provenance["skipped"] == ["fc.bias", "fc.weight"]
    assert "test_resnet.r160_in1k" in provenance["origin"]


def test_weights_that_do_not_fit_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    source = build("test_resnet")
    del source.layer3
    _publish(monkeypatch, tmp_path, source, "test_resnet.r160_in1k")
    with pytest.raises(ConfigError, match=r"(?s)could not build test_resnet.r160_in1k.*layer3"):
        Timm(name="test_resnet").pretrained()


def test_another_size_resamples_position_embeddings(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, images: Callable[[int], Tensor]
) -> None:
    _publish(monkeypatch, tmp_path, build("test_vit"), "test_vit.r160_in1k")
    encoder, _ = Timm(name="test_vit", size=96).pretrained()
    with torch.no_grad():
        assert encoder.eval()(images(96)).shape == (3, encoder.feature_dim)


def test_size_of_a_network_that_takes_any(images: Callable[[int], Tensor]) -> None:
    encoder = Timm(name="test_resnet", size=64).encoder()
    with torch.no_grad():
        assert encoder.eval()(images(64)).shape == (3, encoder.feature_dim)


def test_no_network_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", fail)
    with pytest.raises(ConfigError, match=r"test_resnet.* could not be downloaded.*no route to host.*library: timm"):
        Timm(name="test_resnet").pretrained()
