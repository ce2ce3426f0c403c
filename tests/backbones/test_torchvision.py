from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision import models

from tlpipe.backbones.torchvision import Torchvision, build
from tlpipe.config import ConfigError


def test_preprocessing_is_what_the_weights_enum_does() -> None:
    image = np.random.default_rng(0).integers(0, 256, (60, 90, 3), np.uint8)
    for name, weights in (("resnet50", "IMAGENET1K_V2"), ("efficientnet_b0", "DEFAULT"), ("vit_b_16", "DEFAULT")):
        preset = models.get_model_weights(name).__members__[weights].transforms()
        expected = preset(Image.fromarray(image)).numpy()
        given = Torchvision(name=name, weights=weights).preprocess()(image)
        assert given.shape == expected.shape
        assert np.abs(given - expected).max() < 1e-5


def test_size_scales_the_resize_with_the_crop() -> None:
    spec = Torchvision(name="resnet50", weights="IMAGENET1K_V2", size=112).preprocess()
    assert (spec.size, spec.resize_to) == (112, 116)
    assert Torchvision(name="resnet50", weights="IMAGENET1K_V1").preprocess().resize_to == 256


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"name": "resnet81"}, "no classification model 'resnet81'; did you mean 'resnet18'"),
        ({"name": "fasterrcnn_resnet50_fpn"}, "no classification model 'fasterrcnn_resnet50_fpn'"),
        ({"name": "resnet18", "weights": "IMAGENET1K_V9"}, "did you mean 'IMAGENET1K_V1'.*allowed: .*DEFAULT"),
        ({"name": "inception_v3", "size": 32}, "size 32 is too small for inception_v3: at least 75 pixels"),
        ({"name": "vit_b_16", "size": 100}, "vit_b_16 cannot be built for images of 100 pixels"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_downloaded(given: dict[str, Any], message: str) -> None:
    with torch.device("meta"), pytest.raises(ConfigError, match=message):
        Torchvision(**given).encoder()


def test_rebuilds(contract: Any, images: Callable[[int], Tensor]) -> None:
    contract.rebuilds(Torchvision(name="mobilenet_v3_small", size=64).encoder, images(64))


def test_shape_computing_builder_works_on_meta() -> None:
    with torch.device("meta"):
        encoder = Torchvision(name="regnet_y_400mf").encoder()
    assert {parameter.device.type for parameter in encoder.parameters()} == {"meta"}


def _publish(monkeypatch: pytest.MonkeyPatch, model: torch.nn.Module) -> list[str]:
    """torch.hub's downloads answered with `model`'s state; returns the addresses that were asked for."""
    asked: list[str] = []

    def answer(url: str, *_: object, **__: object) -> dict[str, torch.Tensor]:
        asked.append(url)
        return model.state_dict()

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", answer)
    return asked


def test_pretrained_lays_the_published_weights_over_the_encoder(
    monkeypatch: pytest.MonkeyPatch, contract: Any, images: Callable[[int], Tensor]
) -> None:
    x = images(64)
    source = build("resnet18", 224).eval()
    contract.randomise(source)
    asked = _publish(monkeypatch, source)
    encoder, provenance = Torchvision(name="resnet18", size=64).pretrained()
    source.fc = torch.nn.Identity()
    with torch.no_grad():
        assert torch.equal(encoder.eval()(x), source(x))
    assert asked == ["https://download.pytorch.org/models/resnet18-f37072fd.pth"]
    assert provenance["skipped"] == ["fc.bias", "fc.weight"]
    assert "ResNet18_Weights.IMAGENET1K_V1" in provenance["origin"]
    assert len(provenance["sha256"]) == 64


@pytest.mark.slow
@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_pretrained_inception_rescales_its_inputs_and_skips_the_auxiliary_heads(
    monkeypatch: pytest.MonkeyPatch, name: str, images: Callable[[int], Tensor]
) -> None:
    x = images(96)
    source = build(name, 224, transform_input=True).eval()
    _publish(monkeypatch, source)
    encoder, provenance = Torchvision(name=name, size=96).pretrained()
    source.fc = torch.nn.Identity()
    with torch.no_grad():
        assert torch.equal(encoder.eval()(x), source(x))
    assert {"fc.bias", "fc.weight"} <= set(provenance["skipped"])
    assert any(key.startswith("AuxLogits.") for key in provenance["skipped"]) == (name == "inception_v3")


@pytest.mark.slow
def test_pretrained_vit_interpolates_its_positions(
    monkeypatch: pytest.MonkeyPatch, images: Callable[[int], Tensor]
) -> None:
    _publish(monkeypatch, build("vit_b_32", 224))
    encoder, _ = Torchvision(name="vit_b_32", size=64).pretrained()
    with torch.no_grad():
        assert encoder.eval()(images(64)).shape == (3, 768)


def test_no_network_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", fail)
    with pytest.raises(ConfigError, match=r"resnet18 could not be downloaded.*no route to host.*kind: checkpoint"):
        Torchvision(name="resnet18").pretrained()


@pytest.mark.slow
def test_every_classification_model_and_every_published_preprocessing(contract: Any) -> None:
    for name in models.list_models(module=models):
        for weights in models.get_model_weights(name).__members__:
            Torchvision(name=name, weights=weights).preprocess()
        with torch.device("meta"):
            contract.partitions(Torchvision(name=name).encoder())
