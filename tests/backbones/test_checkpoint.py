import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision import models

from tlpipe import config
from tlpipe.backbones import AnyBackbone
from tlpipe.backbones.base import Encoder
from tlpipe.backbones.checkpoint import Checkpoint
from tlpipe.backbones.timm import build
from tlpipe.config import ConfigError
from tlpipe.preprocess.image import ImagePreprocess

RESNET20 = '''
from torch import nn
from torch.nn import functional as F

class Block(nn.Module):
    """The CIFAR residual block with the parameterless shortcut of He et al. 2016, option A."""

    def __init__(self, before, after, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(after)
        self.pad = (after - before) // 2
        self.stride = stride

    def forward(self, x):
        out = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.pad:
            x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.pad, self.pad))
        return F.relu(out + x)

class ResNet20(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = nn.Sequential(*(Block(16, 16, 1) for _ in range(3)))
        self.layer2 = nn.Sequential(Block(16, 32, 2), Block(32, 32, 1), Block(32, 32, 1))
        self.layer3 = nn.Sequential(Block(32, 64, 2), Block(64, 64, 1), Block(64, 64, 1))
        self.linear = nn.Linear(64, 10)

    def forward(self, x):
        x = self.layer3(self.layer2(self.layer1(F.relu(self.bn1(self.conv1(x))))))
        return self.linear(F.adaptive_avg_pool2d(x, 1).flatten(1))

    def stages(self):
        top = nn.Sequential(self.layer3, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        stem = nn.Sequential(self.conv1, self.bn1, nn.ReLU())
        return {"stem": stem, "layer1": self.layer1, "layer2": self.layer2, "layer3": top}
'''


@pytest.fixture
def resnet20(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "my_resnet.py").write_text(RESNET20)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield "my_resnet:ResNet20"
    sys.modules.pop("my_resnet", None)


def _spec(path: Path, library: str, name: str, size: int = 64, **inputs: object) -> Checkpoint:
    data = {
        "kind": "checkpoint",
        "path": str(path),
        "architecture": {"library": library, "name": name},
        "inputs": {"size": size, "resize_to": size, **inputs},
    }
    return config.parse(data, AnyBackbone, "backbone")


def test_torchvision_state_dict(tmp_path: Path, contract: Any, images: Callable[[int], Tensor]) -> None:
    x = images(64)
    source = models.mobilenet_v3_small(num_classes=7).eval()
    contract.randomise(source)
    torch.save({"state_dict": {f"module.{k}": v for k, v in source.state_dict().items()}}, tmp_path / "w.pth")
    spec = _spec(tmp_path / "w.pth", "torchvision", "mobilenet_v3_small")
    encoder, provenance = spec.pretrained()
    with torch.no_grad():
        assert torch.equal(source.classifier[3](encoder.eval()(x)), source(x))
    assert provenance["origin"] == f"{tmp_path}/w.pth (unwrapped 'state_dict'; removed prefix 'module.')"
    assert provenance["skipped"] == ["classifier.3.bias", "classifier.3.weight"]
    contract.rebuilds(spec.encoder, x)


def test_timm_state_dict(tmp_path: Path, contract: Any, images: Callable[[int], Tensor]) -> None:
    x = images(64)
    source = build("test_resnet").eval()
    contract.randomise(source)
    torch.save(source.state_dict(), tmp_path / "w.pt")
    encoder, provenance = _spec(tmp_path / "w.pt", "timm", "test_resnet").pretrained()
    source.reset_classifier(0)
    with torch.no_grad():
        assert torch.equal(encoder.eval()(x), source(x))
    assert provenance["skipped"] == ["fc.bias", "fc.weight"]


@pytest.mark.slow
def test_old_torchvision_names_are_known_to_the_model(tmp_path: Path) -> None:
    state = models.vit_b_32(image_size=64).state_dict()
    old = {key.replace("mlp.0.", "mlp.linear_1.").replace("mlp.3.", "mlp.linear_2."): v for key, v in state.items()}
    assert old.keys() != state.keys()
    torch.save(old, tmp_path / "w.pth")
    encoder, _ = _spec(tmp_path / "w.pth", "torchvision", "vit_b_32").pretrained()
    values = {id(value): key for key, value in encoder.state_dict(keep_vars=True).items()}
    assert len(values) == len(state) - 2
    assert torch.equal(encoder.stages["block0"][0].mlp[0].weight, state["encoder.layers.encoder_layer_0.mlp.0.weight"])


def test_another_architecture_is_refused_by_name(tmp_path: Path) -> None:
    torch.save(models.squeezenet1_1().state_dict(), tmp_path / "w.pth")
    with pytest.raises(
        ConfigError, match=r"does not fit ResNet; missing: .*; unexpected: features\.0\.weight.*another"
    ):
        _spec(tmp_path / "w.pth", "torchvision", "resnet18").pretrained()


@pytest.mark.parametrize(
    ("library", "name", "message"),
    [
        ("torchvision", "resnet81", "did you mean 'resnet18'"),
        ("timm", "resnet81", "did you mean 'resnet18"),
        ("tensorflow", "resnet18", "torchvision"),
        ("module", "no colon", "architecture"),
    ],
)
def test_unknown_architectures(library: str, name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        _spec("w.pth", library, name).encoder()


def test_preprocessing_has_to_be_stated() -> None:
    data = {"kind": "checkpoint", "path": "w", "architecture": {"library": "timm", "name": "resnet18"}}
    with pytest.raises(ConfigError, match="inputs"):
        config.parse(data, AnyBackbone, "backbone")


def _pictures(folder: Path, preprocess: ImagePreprocess, per_class: int) -> tuple[torch.Tensor, np.ndarray]:
    batch, labels = [], []
    for label, name in enumerate(sorted(path.name for path in folder.iterdir() if path.is_dir())):
        for path in sorted((folder / name).glob("*"))[:per_class]:
            batch.append(preprocess(np.asarray(Image.open(path).convert("RGB"))))
            labels.append(label)
    return torch.from_numpy(np.stack(batch)), np.array(labels)


def _probe(encoder: Encoder, folder: Path, test: Path, preprocess: ImagePreprocess, per_class: int) -> float:
    """Accuracy of a logistic regression on the frozen features."""
    from sklearn.linear_model import LogisticRegression

    sets = [_pictures(place, preprocess, per_class) for place in (folder, test)]
    with torch.no_grad():
        (x, y), (x_test, y_test) = [(torch.cat([encoder.eval()(p) for p in x.split(20)]).numpy(), y) for x, y in sets]
    return float(LogisticRegression(C=0.01, max_iter=2000).fit(x, y).score(x_test, y_test))


@pytest.mark.slow
def test_real_mobilenet_has_imagenet_features(shared: Path) -> None:
    path = shared / "weights/mobilenet_v2_imagenet.pth"
    spec = _spec(path, "torchvision", "mobilenet_v2", 224, resize_to=256)
    encoder, provenance = spec.pretrained()
    assert provenance["skipped"] == ["classifier.1.bias", "classifier.1.weight"]
    data = shared / "data/hymenoptera"
    assert _probe(encoder, data / "train", data / "val", spec.preprocess(), 60) > 0.9


def test_real_squeezenet_without_a_classifier(shared: Path, images: Callable[[int], Tensor]) -> None:
    path = shared / "weights/squeezenet1_1_features.pth"
    encoder, provenance = _spec(path, "torchvision", "squeezenet1_1", 64).pretrained()
    assert provenance["skipped"] == []
    assert provenance["origin"] == f"{path} (added prefix 'features.'; no classifier in the file)"
    state = torch.load(path, weights_only=True)
    features = models.squeezenet1_1().features
    features.load_state_dict(state)
    with torch.no_grad():
        expected = nn.functional.adaptive_avg_pool2d(features(images(64)), 1).flatten(1)
        assert torch.equal(encoder.eval()(images(64)), expected)


def test_real_resnet20_of_the_users_own(
    shared: Path, resnet20: str, contract: Any, images: Callable[[int], Tensor]
) -> None:
    path = shared / "weights/cifar10_resnet20-12fca82f.pth"
    channels = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
    spec = _spec(path, "module", resnet20, 32, **channels)
    encoder, provenance = spec.pretrained()
    assert encoder.groups == ("stem", "layer1", "layer2", "layer3")
    assert provenance["skipped"] == ["linear.bias", "linear.weight"]
    contract.rebuilds(spec.encoder, images(32))
    state = torch.load(path, weights_only=True)
    x, labels = _pictures(shared / "data/cifar10/test", spec.preprocess(), 20)
    with torch.no_grad():
        logits = encoder.eval()(x) @ state["linear.weight"].T + state["linear.bias"]
    assert float((logits.argmax(1).numpy() == labels).mean()) > 0.8
