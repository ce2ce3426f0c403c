from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision import models
from torchvision.models.convnext import CNBlockConfig
from torchvision.models.efficientnet import FusedMBConvConfig, MBConvConfig
from torchvision.models.mobilenetv3 import InvertedResidualConfig
from torchvision.models.regnet import BlockParams
from torchvision.models.resnet import BasicBlock
from torchvision.models.swin_transformer import PatchMergingV2, SwinTransformerBlockV2

from tlpipe.backbones.families import FAMILIES, carve
from tlpipe.config import ConfigError


def _swin(**options: Any) -> nn.Module:
    return models.SwinTransformer(
        [4, 4], 24, [1, 1, 2, 1], [2, 2, 2, 2], [4, 4], stochastic_depth_prob=0.4, num_classes=5, **options
    )


# The published families at a size that a test can afford: the class is the library's, its depth and width are ours.
SMALL: dict[str, tuple[Callable[[], nn.Module], int, tuple[str, ...]]] = {
    "convnext": (
        lambda: models.ConvNeXt(
            [CNBlockConfig(8, 16, 1), CNBlockConfig(16, 16, 1), CNBlockConfig(16, 24, 2), CNBlockConfig(24, None, 1)],
            stochastic_depth_prob=0.5,
            num_classes=5,
        ),
        64,
        ("stem", "stage1", "stage2", "stage3", "stage4"),
    ),
    "densenet": (
        lambda: models.DenseNet(8, (2, 2, 2, 2), 16, drop_rate=0.3, num_classes=5),
        64,
        ("stem", "block1", "block2", "block3", "block4"),
    ),
    "efficientnet": (
        lambda: models.EfficientNet(
            [FusedMBConvConfig(1, 3, 1, 8, 8, 1), MBConvConfig(4, 3, 2, 8, 16, 2, 1.0, 1.0)], 0.3, 0.5, num_classes=5
        ),
        48,
        ("stem", "stage1", "stage2", "top"),
    ),
    "maxvit": (
        lambda: models.MaxVit((64, 64), 8, 2, [8, 16], [1, 1], 4, 0.5, num_classes=5),
        64,
        ("stem", "block1", "block2", "top"),
    ),
    "mnasnet": (lambda: models.MNASNet(0.2, 5), 48, ("stem", *(f"stage{i}" for i in range(1, 7)), "top")),
    "mobilenet_v2": (
        lambda: models.MobileNetV2(5, 0.25),
        48,
        ("stem", *(f"block{i}" for i in range(1, 18)), "top"),
    ),
    "mobilenet_v3": (
        lambda: models.MobileNetV3([InvertedResidualConfig(8, 3, 16, 8, True, "HS", 2, 1, 1.0)], 32, 5),
        48,
        ("stem", "block1", "top"),
    ),
    "regnet": (
        lambda: models.RegNet(BlockParams.from_init_params(6, 16, 16, 2.5, 8, se_ratio=0.25), 5),
        48,
        ("stem", "stage1", "stage2", "stage3"),
    ),
    "resnet": (
        lambda: models.ResNet(BasicBlock, [1, 1, 1, 1], 5),
        48,
        ("stem", "layer1", "layer2", "layer3", "layer4"),
    ),
    "shufflenet": (
        lambda: models.ShuffleNetV2([2, 2, 2], [8, 16, 32, 64, 96], 5),
        48,
        ("stem", "stage2", "stage3", "stage4", "top"),
    ),
    "squeezenet": (lambda: models.SqueezeNet("1_1", 5), 48, ("stem", *(f"fire{i}" for i in range(2, 10)))),
    "swin": (_swin, 64, ("embed", "stage1", "stage2", "stage3", "stage4")),
    "swin_v2": (
        partial(_swin, block=SwinTransformerBlockV2, downsample_layer=PatchMergingV2),
        64,
        ("embed", "stage1", "stage2", "stage3", "stage4"),
    ),
    "vit": (
        lambda: models.VisionTransformer(32, 8, 3, 2, 16, 32, dropout=0.1, num_classes=5),
        32,
        ("embed", "block0", "block1", "block2"),
    ),
}
LARGE: dict[str, tuple[Callable[[], nn.Module], int, tuple[str, ...]]] = {
    "alexnet": (models.alexnet, 64, ("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7")),
    "googlenet": (
        lambda: models.GoogLeNet(5, transform_input=True, init_weights=True),
        64,
        ("stem", *(f"inception{name}" for name in ("3a", "3b", "4a", "4b", "4c", "4d", "4e", "5a", "5b"))),
    ),
    "inception_v3": (
        lambda: models.Inception3(5, transform_input=True, init_weights=True),
        96,
        ("stem", *(f"mixed_{name}" for name in ("5b", "5c", "5d", "6a", "6b", "6c", "6d", "6e", "7a", "7b", "7c"))),
    ),
    "resnext50": (models.resnext50_32x4d, 64, ("stem", "layer1", "layer2", "layer3", "layer4")),
    "vgg11_bn": (models.vgg11_bn, 32, ("block1", "block2", "block3", "block4", "block5", "fc6", "fc7")),
}
ALL = [*SMALL, *(pytest.param(name, marks=pytest.mark.slow) for name in LARGE)]


@pytest.mark.parametrize("name", ALL)
def test_encoder_keeps_its_contract_and_the_library_models_bits(
    name: str, contract: Any, images: Callable[[int], Tensor]
) -> None:
    build, size, groups = (SMALL | LARGE)[name]
    x = images(size)
    model = build().eval()
    contract.randomise(model)
    seen = []
    head = model.get_submodule(FAMILIES[type(model).__name__].head)
    hook = head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].clone()))
    with torch.no_grad():
        model(x)
        hook.remove()
        features = carve(model).eval()(x)
    expected = seen[0].mean((2, 3)) if seen[0].ndim == 4 else seen[0]
    assert torch.equal(features, expected)
    encoder = carve(model)
    assert encoder.groups == groups
    contract.holds(encoder, x)


@pytest.mark.parametrize("name", ["convnext", "efficientnet", "resnet", "swin", "vit"])
def test_training_mode_without_freezing_differs(name: str, images: Callable[[int], Tensor]) -> None:
    """Or the purity of the frozen block above would prove nothing."""
    build, size, _ = SMALL[name]
    x = images(size)
    encoder = carve(build())
    with torch.no_grad():
        if name == "convnext":
            for parameter in encoder.parameters():
                parameter.add_(0.1)
        assert not torch.equal(encoder.train()(x), encoder.eval()(x))


def test_depths_pool_channels_and_not_rows(images: Callable[[int], Tensor]) -> None:
    encoder = carve(_swin())
    assert [features.shape[1] for _, features in encoder.eval().depths(images(64))] == [24, 24, 48, 96, 192]


def test_unknown_class_is_refused() -> None:
    with pytest.raises(ConfigError, match="no layer groups are known for torchvision's Linear; known: AlexNet"):
        carve(nn.Linear(2, 2))
