"""torchvision's classification models with their published weights."""

from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import nn

from tlpipe.backbones.base import Backbone, Encoder, construct
from tlpipe.backbones.families import carve
from tlpipe.backbones.lean import lean_import
from tlpipe.backbones.weights import fingerprint, head_prefixes, load_backbone
from tlpipe.config import ConfigError, suggest
from tlpipe.preprocess.image import ImagePreprocess
from tlpipe.wording import either, nearest

MODELS = "torchvision.models"
Size = Annotated[int, Field(ge=8, le=2048)]
AUXILIARY: dict[str, dict[str, Any]] = {
    name: {"aux_logits": True, "init_weights": True} for name in ("googlenet", "inception_v3")
}
"""Their auxiliary heads are built so that a file's are recognised and skipped by name; the encoder leaves them out."""
SIZED = {"VisionTransformer": "image_size", "MaxVit": "input_size"}
"""Classes built for one image size, and the builder's argument for it."""
UNBOUNDED = {*SIZED, "SwinTransformer"}
"""Classes whose published `min_size` is what they were trained at, not what they need."""


class Torchvision(Backbone):
    """Any classification model of torchvision; preprocessing and weights come from the same weights enum.

    The name and the weights are checked by the methods, not when the file is read: importing torchvision takes
    seconds that only those who use it should pay. `check` calls them.
    """

    modality: ClassVar[Literal["image", "text"]] = "image"

    kind: Literal["torchvision"] = "torchvision"
    name: str
    """Name in torchvision.models: resnet18, mobilenet_v2, vit_b_16, ..."""
    weights: str = "DEFAULT"
    """Name in the model's weights enum: DEFAULT, IMAGENET1K_V1, ..."""
    size: Size | None = None
    """Edge of the square the network sees, pixels; null = what the weights were evaluated at."""

    def preprocess(self) -> ImagePreprocess:
        """What the weights enum's transforms do; at another `size` the resize keeps its proportion to the crop."""
        weights = self._weights()
        preset = weights.transforms()
        crop, resize = preset.crop_size[0], preset.resize_size[0]
        size = self.size or crop
        least = max(weights.meta.get("min_size", (1, 1)))
        if type_of(self.name) not in UNBOUNDED and size < least:
            raise ConfigError(f"size {size} is too small for {self.name}: at least {least} pixels")
        return ImagePreprocess(
            size=size,
            resize_to=max(size, round(resize * size / crop)),
            interpolation=interpolation_of(preset.interpolation.value, self.name),
            mean=tuple(preset.mean),
            std=tuple(preset.std),
        )

    def encoder(self) -> Encoder:
        """The architecture with torchvision's own random initialisation."""
        return carve(self._build())

    def pretrained(self) -> tuple[Encoder, dict[str, str | list[str]]]:
        """Downloads (or finds in torch.hub's cache) the published weights, hash checked, and lays them over it.

        A VisionTransformer's position embeddings are interpolated to another `size`. Raises ConfigError when there is
        no network and nothing in the cache.
        """
        weights = self._weights()
        model = self._build()
        encoder = carve(model)
        state = self._published(weights)
        if type(model).__name__ == "VisionTransformer":
            interpolate = lean_import("torchvision.models.vision_transformer").interpolate_embeddings
            state = dict(interpolate(model.image_size, model.patch_size, state))
        loaded = load_backbone(model, head_prefixes(model, encoder), state, weights.url)
        origin = f"torchvision {type(weights).__name__}.{weights.name} ({weights.url})"
        return encoder, {"origin": origin, "sha256": fingerprint(encoder), "skipped": loaded.skipped}

    def _weights(self) -> Any:
        check_name(self.name)
        options = lean_import(MODELS).get_model_weights(self.name).__members__
        if self.weights not in options:
            raise ConfigError(f"{self.name} has no weights named {self.weights!r}{suggest(self.weights, options)}")
        return options[self.weights]

    def _build(self) -> nn.Module:
        shift = {"transform_input": True} if self.name in AUXILIARY else {}
        return build(self.name, self.preprocess().size, **shift)

    def _published(self, weights: Any) -> dict[str, torch.Tensor]:
        # torchvision's own builder knows the renames of its old files (DenseNet); its state dict has today's names.
        try:
            with torch.device("cpu"):
                model: nn.Module = lean_import(MODELS).get_model(self.name, weights=weights)
        except OSError as error:
            raise ConfigError(
                f"the weights of {self.name} could not be downloaded from {weights.url} ({error}); fetch the file on "
                f"another machine into {torch.hub.get_dir()}/checkpoints, or use `kind: checkpoint`"
            ) from error
        return model.state_dict()


def build(name: str, size: int, **options: Any) -> nn.Module:
    """A torchvision model for images of `size` pixels with random weights and its 1000-class head.

    Raises ConfigError for an unknown name or a size that the architecture cannot have.
    """
    check_name(name)
    argument = SIZED.get(type_of(name))
    if argument is not None:
        options[argument] = size if argument == "image_size" else (size, size)
    try:
        return construct(
            lambda: lean_import(MODELS).get_model(name, weights=None, **AUXILIARY.get(name, {}), **options)
        )
    except (AssertionError, ValueError) as error:
        raise ConfigError(f"{name} cannot be built for images of {size} pixels: {error}") from None


def check_name(name: str) -> None:
    """Raises ConfigError, with the nearest match, when torchvision has no classification model of that name."""
    models = lean_import(MODELS)
    known = models.list_models(module=models)
    if name not in known:
        near = f"did you mean {either(nearest(name, known))}? " if nearest(name, known) else ""
        raise ConfigError(
            f"torchvision has no classification model {name!r}; {near}"
            "`torchvision.models.list_models(module=torchvision.models)` lists them"
        )


def type_of(name: str) -> str:
    """The class that the builder `name` returns, from its annotation: nothing is built."""
    returned = lean_import(MODELS).get_model_builder(name).__annotations__["return"]
    return str(getattr(returned, "__name__", returned))


def interpolation_of(name: str, model: str) -> Literal["bilinear", "bicubic"]:
    """The filter by its name in torchvision and timm. Raises ConfigError for one that ImagePreprocess lacks."""
    known: dict[str, Literal["bilinear", "bicubic"]] = {"bilinear": "bilinear", "bicubic": "bicubic"}
    if name not in known:
        raise ConfigError(f"the weights of {model} want {name} interpolation; supported: {', '.join(known)}")
    return known[name]
