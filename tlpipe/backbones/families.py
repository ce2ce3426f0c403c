"""Where each torchvision family is cut into layer groups: one small function a family, and a table of them."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from tlpipe.backbones.base import SequentialEncoder
from tlpipe.config import ConfigError

Parts = dict[str, list[nn.Module]]


class Family(NamedTuple):
    """How one torchvision class becomes groups. What precedes the classifier layer belongs to the encoder."""

    parts: Callable[[Any], Parts]
    head: str
    """The classifier layer; its inputs are the features."""
    channel_axis: int = 1


class Mean(nn.Module):
    """(B, C, H, W) -> (B, C), by the operation that MNASNet and ShuffleNet use: AdaptiveAvgPool2d's bits differ."""

    def forward(self, x: Tensor) -> Tensor:
        """Mean over the positions."""
        return x.mean([2, 3])


class FirstToken(nn.Module):
    """(B, N, C) -> (B, C): the class token."""

    def forward(self, x: Tensor) -> Tensor:
        """The first position."""
        return x[:, 0]


class HalfScaled(nn.Module):
    """ImageNet-normalised inputs to (v - 0.5) / 0.5, which torchvision's Inception weights were trained with."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) -> the same shape; operation for operation what torchvision's `_transform_input` does."""
        red = torch.unsqueeze(x[:, 0], 1) * (0.229 / 0.5) + (0.485 - 0.5) / 0.5
        green = torch.unsqueeze(x[:, 1], 1) * (0.224 / 0.5) + (0.456 - 0.5) / 0.5
        blue = torch.unsqueeze(x[:, 2], 1) * (0.225 / 0.5) + (0.406 - 0.5) / 0.5
        return torch.cat((red, green, blue), 1)


class PatchEmbedding(nn.Module):
    """The stem of torchvision's VisionTransformer: (B, 3, S, S) -> (B, 1 + (S / patch)^2, C)."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.projection = model.conv_proj
        self.class_token = model.class_token
        self.positions = model.encoder.pos_embedding
        self.dropout = model.encoder.dropout

    def forward(self, x: Tensor) -> Tensor:
        """Patches, class token first, plus positions."""
        patches = self.projection(x).flatten(2).permute(0, 2, 1)
        tokens = torch.cat([self.class_token.expand(x.shape[0], -1, -1), patches], dim=1)
        result: Tensor = self.dropout(tokens + self.positions)
        return result


def carve(model: nn.Module) -> SequentialEncoder:
    """The encoder of a torchvision classification model; it shares the model's parameters.

    Its features are bit for bit what the model's classifier layer gets in eval mode (SqueezeNet, whose classifier is a
    convolution before the pooling: the mean of what that gets). Raises ConfigError for a class that is not in FAMILIES.
    """
    name = type(model).__name__
    if name not in FAMILIES:
        raise ConfigError(f"no layer groups are known for torchvision's {name}; known: {', '.join(FAMILIES)}")
    family = FAMILIES[name]
    head = model.get_submodule(family.head)
    width = head.in_channels if isinstance(head, nn.Conv2d) else head.in_features
    stages: dict[str, nn.Module] = {group: nn.Sequential(*modules) for group, modules in family.parts(model).items()}
    return SequentialEncoder(stages, int(width), family.channel_axis)  # type: ignore[arg-type]


def _numbered(name: str, modules: Iterable[nn.Module], start: int = 1) -> Parts:
    return {f"{name}{index}": [module] for index, module in enumerate(modules, start)}


def _resnet(model: Any) -> Parts:
    layers = _numbered("layer", [model.layer1, model.layer2, model.layer3, model.layer4])
    layers["layer4"] += [model.avgpool, nn.Flatten()]
    return {"stem": [model.conv1, model.bn1, model.relu, model.maxpool], **layers}


def _stem_middle_top(name: str) -> Callable[[Any], Parts]:
    """MobileNet and EfficientNet: the first and the last of `features` are the stem and the top convolution."""

    def parts(model: Any) -> Parts:
        pooling = getattr(model, "avgpool", nn.AdaptiveAvgPool2d(1))
        # MobileNetV3 keeps a pretrained Linear and its activation in front of the dropout; the others have none there.
        before = [module for module in list(model.classifier)[:-1] if not isinstance(module, nn.Dropout)]
        top = [model.features[-1], pooling, nn.Flatten(), *before]
        return {"stem": [model.features[0]], **_numbered(name, model.features[1:-1]), "top": top}

    return parts


def _convnext(model: Any) -> Parts:
    stages = _pairs(model.features)
    stages["stage4"] += [model.avgpool, *model.classifier[:-1]]
    return {"stem": [model.features[0]], **stages}


def _swin(model: Any) -> Parts:
    stages = _pairs(model.features)
    stages["stage4"] += [model.norm, model.permute, model.avgpool, model.flatten]
    return {"embed": [model.features[0]], **stages}


def _pairs(features: Any) -> Parts:
    """Stem, stage, (downsampling, stage)...: each downsampling opens the stage behind it."""
    stages: Parts = {"stage1": [features[1]]}
    for number, index in enumerate(range(2, len(features), 2), start=2):
        stages[f"stage{number}"] = [features[index], features[index + 1]]
    return stages


def _vit(model: Any) -> Parts:
    blocks = _numbered("block", model.encoder.layers, start=0)
    blocks[f"block{len(blocks) - 1}"] += [model.encoder.ln, FirstToken()]
    return {"embed": [PatchEmbedding(model)], **blocks}


def _densenet(model: Any) -> Parts:
    parts: Parts = {"stem": []}
    for name, module in model.features.named_children():
        if name.startswith("denseblock"):
            parts[name.removeprefix("dense")] = []
        parts[list(parts)[-1]].append(module)
    parts[list(parts)[-1]] += [nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return parts


def _regnet(model: Any) -> Parts:
    stages = _numbered("stage", model.trunk_output)
    stages[f"stage{len(stages)}"] += [model.avgpool, nn.Flatten()]
    return {"stem": [model.stem], **stages}


def _vgg(model: Any) -> Parts:
    parts: Parts = {"block1": []}
    for module in model.features:
        parts[list(parts)[-1]].append(module)
        if isinstance(module, nn.MaxPool2d):
            parts[f"block{len(parts) + 1}"] = []
    del parts[list(parts)[-1]]
    first, rectify, dropout, second, rectify2 = model.classifier[:5]
    return {**parts, "fc6": [model.avgpool, nn.Flatten(), first, rectify, dropout], "fc7": [second, rectify2]}


def _alexnet(model: Any) -> Parts:
    parts: Parts = {}
    for module in model.features:
        if isinstance(module, nn.Conv2d):
            parts[f"conv{len(parts) + 1}"] = []
        parts[list(parts)[-1]].append(module)
    dropout, first, rectify, dropout2, second, rectify2 = model.classifier[:6]
    fc6 = [model.avgpool, nn.Flatten(), dropout, first, rectify, dropout2]
    return {**parts, "fc6": fc6, "fc7": [second, rectify2]}


def _squeezenet(model: Any) -> Parts:
    parts: Parts = {"stem": []}
    for module in model.features:
        if type(module).__name__ == "Fire":
            parts[f"fire{len(parts) + 1}"] = []
        parts[list(parts)[-1]].append(module)
    parts[list(parts)[-1]] += [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return parts


def _inception(stem: int) -> Callable[[Any], Parts]:
    """GoogLeNet and Inception: the first `stem` children, then one group a block; auxiliary heads are left out."""

    def parts(model: Any) -> Parts:
        children = [(name, module) for name, module in model.named_children() if "aux" not in name.lower()]
        result: Parts = {"stem": [module for _, module in children[:stem]]}
        for name, module in children[stem:-3]:
            if any(True for _ in module.parameters()):
                result[name.lower()] = []
            result[list(result)[-1]].append(module)
        result[list(result)[-1]] += [model.avgpool, nn.Flatten()]
        if model.transform_input:
            result["stem"].insert(0, HalfScaled())
        return result

    return parts


def _mnasnet(model: Any) -> Parts:
    stages = _numbered("stage", model.layers[8:14])
    return {"stem": list(model.layers[:8]), **stages, "top": [*model.layers[14:], Mean()]}


def _shufflenet(model: Any) -> Parts:
    stages = _numbered("stage", [model.stage2, model.stage3, model.stage4], start=2)
    return {"stem": [model.conv1, model.maxpool], **stages, "top": [model.conv5, Mean()]}


def _maxvit(model: Any) -> Parts:
    return {"stem": [model.stem], **_numbered("block", model.blocks), "top": list(model.classifier[:-1])}


FAMILIES: dict[str, Family] = {
    "AlexNet": Family(_alexnet, "classifier.6"),
    "ConvNeXt": Family(_convnext, "classifier.2"),
    "DenseNet": Family(_densenet, "classifier"),
    "EfficientNet": Family(_stem_middle_top("stage"), "classifier.1"),
    "GoogLeNet": Family(_inception(5), "fc"),
    "Inception3": Family(_inception(7), "fc"),
    "MNASNet": Family(_mnasnet, "classifier.1"),
    "MaxVit": Family(_maxvit, "classifier.5"),
    "MobileNetV2": Family(_stem_middle_top("block"), "classifier.1"),
    "MobileNetV3": Family(_stem_middle_top("block"), "classifier.3"),
    "RegNet": Family(_regnet, "fc"),
    "ResNet": Family(_resnet, "fc"),
    "ShuffleNetV2": Family(_shufflenet, "fc"),
    "SqueezeNet": Family(_squeezenet, "classifier.1"),
    "SwinTransformer": Family(_swin, "head", channel_axis=-1),
    "VGG": Family(_vgg, "classifier.6"),
    "VisionTransformer": Family(_vit, "heads.head"),
}
