"""timm's models with their pretrained tags."""

import math
from typing import Any, ClassVar, Literal

from torch import nn

from tlpipe.backbones.base import Backbone, Encoder, construct
from tlpipe.backbones.lean import lean_import
from tlpipe.backbones.partition import Partitioned
from tlpipe.backbones.torchvision import Size, interpolation_of
from tlpipe.backbones.weights import fingerprint
from tlpipe.config import ConfigError
from tlpipe.preprocess.image import ImagePreprocess
from tlpipe.wording import either, nearest

MODELS = "timm.models"


class Timm(Backbone):
    """Any model of timm that has pretrained weights; preprocessing comes from the tag's pretrained configuration.

    The name is checked by the methods, not when the file is read: importing timm takes seconds that only those who
    use it should pay. `check` calls them.
    """

    modality: ClassVar[Literal["image", "text"]] = "image"

    kind: Literal["timm"] = "timm"
    name: str
    """`architecture.tag` as timm lists it (resnet18.a1_in1k), or the architecture alone for its default tag."""
    size: Size | None = None
    """Edge of the square the network sees, pixels; null = what the tag was trained at."""

    def preprocess(self) -> ImagePreprocess:
        """What timm evaluates the tag with; at another `size` the resize keeps its proportion to the crop."""
        name, pretrained = tag_of(self.name)
        data = lean_import("timm.data").resolve_data_config(pretrained_cfg=pretrained.to_dict())
        channels, height, width = data["input_size"]
        if channels != 3 or height != width:
            raise ConfigError(f"{name} takes {channels} channels of {height} x {width}; only square RGB is supported")
        size = self.size or height
        return ImagePreprocess(
            size=size,
            resize_to=max(size, math.floor(size / data["crop_pct"])),
            resize=_policy(data["crop_mode"], name),
            interpolation=interpolation_of(data["interpolation"], name),
            mean=tuple(data["mean"]),
            std=tuple(data["std"]),
        )

    def encoder(self) -> Encoder:
        """The architecture with timm's own random initialisation."""
        name, _ = tag_of(self.name)
        return headless(build(name, self.size))[0]

    def pretrained(self) -> tuple[Encoder, dict[str, str | list[str]]]:
        """Downloads (or finds in the Hugging Face cache) the tag's weights; timm lays them over strictly.

        Position embeddings are resampled to another `size` by the architectures of timm that can. Raises ConfigError
        when they do not fit, or there is no network and nothing in the cache.
        """
        name, config = tag_of(self.name)
        source = config.hf_hub_id or config.url or config.file
        try:
            model = build(name, self.size, pretrained=True)
        except OSError as error:
            raise ConfigError(
                f"the weights of {name} could not be downloaded from {source} ({error}); fetch the file on another "
                "machine and use `kind: checkpoint` with `library: timm`"
            ) from error
        encoder, skipped = headless(model)
        return encoder, {"origin": f"timm {name} ({source})", "sha256": fingerprint(encoder), "skipped": skipped}


def tag_of(name: str) -> tuple[str, Any]:
    """(architecture.tag, timm's PretrainedCfg) of a name with or without its tag.

    Raises ConfigError, with the nearest match, when timm does not know it or has no weights for it.
    """
    models = lean_import(MODELS)
    architecture, _, tag = name.partition(".")
    check_name(architecture)
    known = models.list_pretrained(architecture)
    config = models.get_pretrained_cfg(architecture, allow_unregistered=False) if not tag and known else None
    full = f"{architecture}.{config.tag}" if config is not None and config.tag else name
    if full not in known:
        options = ", ".join(known) if known else "none; use `kind: checkpoint` with weights of your own"
        near = f"did you mean {either(nearest(name, known))}? " if nearest(name, known) else ""
        raise ConfigError(f"timm has no pretrained weights {name!r}; {near}{architecture} has: {options}")
    return full, models.get_pretrained_cfg(full, allow_unregistered=False)


def check_name(architecture: str) -> None:
    """Raises ConfigError, with the nearest match, when timm has no such architecture."""
    models = lean_import(MODELS)
    if not models.is_model(architecture):
        near = nearest(architecture, models.list_models())
        hint = f"did you mean {either(near)}? " if near else ""
        raise ConfigError(f"timm has no model {architecture!r}; {hint}`timm.list_models()` lists them")


def build(name: str, size: int | None = None, pretrained: bool = False) -> nn.Module:
    """A timm model with its classifier; `size` for architectures that are built for one, others take any.

    Raises ConfigError for a size or weights that do not fit.
    """

    def create(**options: Any) -> nn.Module:
        return construct(lambda: lean_import(MODELS).create_model(name, pretrained=pretrained, **options))

    try:
        if size is None:
            return create()
        try:
            return create(img_size=size)
        except TypeError as error:
            # timm has no other sign of "any size will do" than a builder that does not know the argument.
            if "img_size" not in str(error):
                raise
            return create()
    except (AssertionError, RuntimeError, ValueError) as error:
        raise ConfigError(f"timm could not build {name} (size {size or 'its own'}): {error}") from error


def headless(model: nn.Module) -> tuple[Partitioned, list[str]]:
    """The encoder of a timm model, whose classifier is taken off, and the names of the classifier's tensors."""
    before = set(model.state_dict())
    model.reset_classifier(0)  # type: ignore[operator]
    return Partitioned(model), sorted(before - set(model.state_dict()))


def _policy(crop_mode: str, name: str) -> Literal["shorter", "squash"]:
    policies: dict[str, Literal["shorter", "squash"]] = {"center": "shorter", "squash": "squash"}
    if crop_mode not in policies:
        raise ConfigError(f"{name} wants crop mode {crop_mode!r}; supported: {', '.join(policies)}")
    return policies[crop_mode]
