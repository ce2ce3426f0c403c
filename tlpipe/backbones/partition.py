"""A timm model kept whole: timm's group matcher partitions it, and a table says where its forward can be split."""

import re
from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor, nn

from tlpipe.backbones.base import Encoder
from tlpipe.backbones.lean import lean_import

Step = Callable[[Tensor], Tensor]
UNMATCHED = 1 << 30
"""Ordinal of parameters that the matcher does not know: timm's convention puts them at the top."""
CHAINS: dict[str, str] = {
    "ByobNet": "stem stages.* final_conv",
    "ConvNeXt": "stem stages.* norm_pre",
    "CspNet": "stem stages.*",
    "DaVit": "stem stages.* norm_pre",
    "DenseNet": "features.*",
    "EdgeNeXt": "stem stages.* norm_pre",
    "EfficientFormer": "stem stages.* norm",
    "EfficientFormerV2": "stem stages.* norm",
    "EfficientNet": "conv_stem bn1 blocks.* conv_head bn2",
    "EfficientVit": "stem stages.*",
    "EfficientVitLarge": "stem stages.*",
    "EfficientVitMsra": "patch_embed stages.*",
    "FasterNet": "patch_embed stages.*",
    "FastVit": "stem stages.* final_conv",
    "FocalNet": "stem layers.* norm",
    "GhostNet": "conv_stem bn1 act1 blocks.*",
    "GlobalContextVit": "stem stages.*",
    "HighPerfGpuNet": "stem stages.*",
    "InceptionV4": "features.*",
    "MambaOut": "stem stages.*",
    "MaxxVit": "stem stages.* norm",
    "MetaFormer": "stem stages.*",
    "MetaNeXt": "stem stages.*",
    "MlpMixer": "stem blocks.* norm",
    "MobileNetV3": "conv_stem bn1 blocks.*",
    "NextViT": "stem stages.* norm",
    "NormFreeNet": "stem stages.* final_conv final_act",
    "RDNet": "stem dense_stages.* norm_pre",
    "RegNet": "stem s1 s2 s3 s4 final_conv",
    "RepGhostNet": "conv_stem bn1 act1 blocks.*",
    "RepVit": "stem stages.*",
    "ResNet": "conv1 bn1 act1 maxpool layer1 layer2 layer3 layer4",
    "ResNetV2": "stem stages.* norm",
    "RexNet": "stem features.*",
    "SHViT": "patch_embed stages.*",
    "StarNet": "stem stages.* norm",
    "SwiftFormer": "stem stages.* norm",
    "SwinTransformer": "patch_embed layers.* norm",
    "SwinTransformerV2": "patch_embed layers.* norm",
    "SwinTransformerV2Cr": "patch_embed stages.*",
    "TinyVit": "patch_embed stages.*",
    "TResNet": "body.*",
    "VGG": "features.*",
    "VisionTransformer": "patch_embed _pos_embed patch_drop norm_pre blocks.* norm",
    "VisionTransformerDistilled": "patch_embed _pos_embed patch_drop norm_pre blocks.* norm",
    "VovNet": "stem stages.*",
    "XceptionAligned": "stem blocks.* act",
}
"""What `forward_features` calls one after the other, by exact class; `name.*` is each child in order. A class that is
missing here runs as one piece: its groups freeze and train like any other, only the frozen prefix cannot be cached."""


class Partitioned(Encoder):
    """A timm model without its classifier; parameters keep timm's names below `model.`."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        owner = _owners(model)
        self.groups = _names(owner)
        self.feature_dim = int(getattr(model, "head_hidden_size", None) or model.num_features)  # type: ignore[arg-type]
        self.channel_axis = -1 if getattr(model, "output_fmt", "NCHW") == "NHWC" else 1
        self._owner = owner
        self._modules_of = _assign(model, owner)
        self._links = _links(model)
        self._starts = _cuts(self._links, owner, len(self.groups))
        self.cuts = tuple(self._starts)

    def run(self, x: Tensor, start: int = 0, stop: int | None = None) -> Tensor:
        """Groups `start` to `stop`; both in `cuts`, else KeyError."""
        stop = len(self.groups) if stop is None else stop
        first, last = self._starts[start], self._starts[stop]
        if (start, stop) == (0, len(self.groups)):
            whole: Tensor = self.model(x)
            return whole
        for path in self._links[first:last]:
            x = _resolve(self.model, path)(x)
        if stop == len(self.groups):
            x = self.model.forward_head(x)  # type: ignore[operator]
        return x

    def members(self, group: str) -> Iterator[tuple[str, nn.Module]]:
        """Modules of one group; parameterless ones belong to the block that they stand in."""
        index = self.groups.index(group)
        for name, module in self.model.named_modules():
            if self._modules_of[name] == index:
                yield f"model.{name}" if name else "model", module

    def parameters_of(self, group: str) -> Iterator[tuple[str, nn.Parameter]]:
        """(qualified name, parameter) of one group, by timm's matcher on the parameter's own name."""
        index = self.groups.index(group)
        for name, parameter in self.model.named_parameters():
            if self._owner[name] == index:
                yield f"model.{name}", parameter


def _owners(model: Any) -> dict[str, int]:
    """Group index of every parameter, from the input to the top, without gaps."""
    try:
        ordinals = _matched(model)
    except (AttributeError, AssertionError):
        # A few classes have no matcher, or none that is coarse.
        ordinals = _by_child(model)
    order = sorted(set(ordinals.values()))
    # A norm or projection behind the last block makes that block's features; it is no group worth a rate of its own.
    top = len(order) - (2 if len(order) > 1 and order[-1] == UNMATCHED else 1)
    return {name: min(order.index(ordinal), top) for name, ordinal in ordinals.items()}


def _matched(model: Any) -> dict[str, int]:
    """Coarse layer ids of timm by parameter name."""
    matcher = model.group_matcher(coarse=True)
    ids: dict[str, int] = lean_import("timm.models").group_parameters(model, matcher, reverse=True)
    if not isinstance(matcher, dict):
        return ids
    patterns = [pattern for entry in matcher.values() if entry is not None for pattern in _patterns(entry)]
    return {name: i if any(re.match(pattern, name) for pattern in patterns) else UNMATCHED for name, i in ids.items()}


def _patterns(entry: Any) -> list[str]:
    """The regular expressions of one entry of a matcher: one, or pairs of one and a suffix."""
    return [entry] if isinstance(entry, str) else [pattern for pattern, _ in entry]


def _by_child(model: nn.Module) -> dict[str, int]:
    """For the few classes without a matcher: one group for each child, and for each part of a sequence of stages."""
    ordinals: dict[str, int] = {}
    seen: dict[str, int] = {}
    for name, _ in model.named_parameters():
        part = re.match(r"(stages|dense_stages|blocks|layers|transformers)\.\d+|[^.]+", name)
        key = part.group() if part else name
        top = key.startswith(("head", "norm"))
        ordinals[name] = UNMATCHED if top else seen.setdefault(key, len(seen))
    return ordinals


def _names(owner: dict[str, int]) -> tuple[str, ...]:
    """`stem` for the first group, then the path of the group's first parameter down to its first number: `blocks3`."""
    first: dict[int, str] = {}
    for name, index in owner.items():
        first.setdefault(index, name)
    names = ["stem" if index == 0 and len(first) > 1 else _short(first[index]) for index in sorted(first)]
    return tuple(f"{name}_{i}" if names.count(name) > 1 else name for i, name in enumerate(names))


def _short(parameter: str) -> str:
    part = re.match(r"([^.\d]*)(\d+)\.|([^.]+)\.(\d+)\.|([^.]+)", parameter)
    return "".join(text for text in part.groups() if text) if part else parameter


def _assign(model: nn.Module, owner: dict[str, int]) -> dict[str, int]:
    """Group index of every module: that of its own first parameter, else of the smallest block around it."""
    below: dict[str, set[int]] = {name: set() for name, _ in model.named_modules()}
    own: dict[str, int] = {}
    for parameter, index in owner.items():
        parts = parameter.split(".")[:-1]
        own.setdefault(".".join(parts), index)
        for length in range(len(parts) + 1):
            below[".".join(parts[:length])].add(index)
    result: dict[str, int] = {}
    latest = 0
    for name in below:
        around = below[_block(name, below)]
        latest = own.get(name, min(around) if len(around) == 1 else min(below[name], default=latest))
        result[name] = latest
    return result


def _block(name: str, below: dict[str, set[int]]) -> str:
    """`name` or its nearest ancestor with parameters."""
    while not below[name]:
        name = name.rpartition(".")[0]
    return name


def _links(model: nn.Module) -> list[str]:
    """Paths of what forward_features calls, in order; empty for a class that CHAINS does not have."""
    links: list[str] = []
    for path in CHAINS.get(type(model).__name__, "").split():
        name = path.removesuffix(".*")
        if path == name:
            links.append(path)
        else:
            links += [f"{name}.{child}" for child, _ in model.get_submodule(name).named_children()]
    return links


def _cuts(links: list[str], owner: dict[str, int], groups: int) -> dict[int, int]:
    """{group index: index of the first link that belongs to it}, where everything before belongs below it."""
    ranges = [[index for name, index in owner.items() if name.startswith(f"{link}.")] for link in links]
    cuts = {0: 0}
    for position in range(1, len(links)):
        below = [index for indices in ranges[:position] for index in indices]
        above = [index for indices in ranges[position:] for index in indices]
        if below and ranges[position] and max(below) < min(above):
            cuts[min(above)] = position
    return cuts | {groups: len(links)}


def _resolve(model: Any, path: str) -> Step:
    """The module or bound method at a dotted path."""
    for name in path.split("."):
        model = model[int(name)] if name.isdigit() and not hasattr(model, name) else getattr(model, name)
    result: Step = model
    return result
