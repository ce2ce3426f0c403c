"""Weights of your own: a local state dict, the architecture that it belongs to, and how its inputs were made."""

from collections.abc import Callable
from typing import Annotated, ClassVar, Literal, NamedTuple

import torch
from pydantic import Field, field_validator
from torch import nn

from tlpipe.backbones import families, timm, torchvision
from tlpipe.backbones.base import Backbone, Encoder
from tlpipe.backbones.own import build_own
from tlpipe.backbones.renaming import Rename, check_rules, offer, rename_state
from tlpipe.backbones.weights import Sha256, check_hash, file_hash, head_prefixes, load_backbone, read_state
from tlpipe.config import ConfigError, Spec
from tlpipe.packaged import local_path
from tlpipe.preprocess.image import ImagePreprocess


class Built(NamedTuple):
    """A whole model, so that a file's classifier is recognised, and how it becomes an encoder once it is loaded."""

    model: nn.Module
    heads: set[str]
    """Prefixes of the names of the classifier's tensors."""
    encode: Callable[[], Encoder]


class TorchvisionArchitecture(Spec):
    """A torchvision classification model; its first layer gets exactly what the stated preprocessing makes."""

    library: Literal["torchvision"]
    name: str
    """Name in torchvision.models."""

    def build(self, size: int) -> Built:
        """For images of `size` pixels. Raises ConfigError for an unknown name or an impossible size."""
        model = torchvision.build(self.name, size)
        encoder = families.carve(model)
        return Built(model, head_prefixes(model, encoder), lambda: encoder)


class TimmArchitecture(Spec):
    """A timm model; the file has timm's names."""

    library: Literal["timm"]
    name: str
    """Name in timm.list_models(), with or without a pretrained tag."""

    def build(self, size: int) -> Built:
        """For images of `size` pixels. Raises ConfigError for an unknown name or an impossible size."""
        timm.check_name(self.name.partition(".")[0])
        model = timm.build(self.name, size)
        with torch.device("meta"):
            classifier = timm.headless(timm.build(self.name, size))[1]
        return Built(model, set(classifier), lambda: timm.headless(model)[0])


class ModuleArchitecture(Spec):
    """An architecture in your own code; `tlpipe.backbones.own` says what the callable has to return."""

    library: Literal["module"]
    name: Annotated[str, Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")]
    """`package.module:callable`, looked up from the project's folder. That code is run."""

    def build(self, size: int) -> Built:
        """For images of `size` pixels. Raises ConfigError when it cannot be imported or cut into groups."""
        model, encoder = build_own(self.name, size)
        return Built(model, head_prefixes(model, encoder), lambda: encoder)


Architecture = Annotated[
    TorchvisionArchitecture | TimmArchitecture | ModuleArchitecture, Field(discriminator="library")
]


class Checkpoint(Backbone):
    """A local state dict.

    Preprocessing has to be stated: no file tells it, and guessing it from a name feeds models what they never saw.
    """

    modality: ClassVar[Literal["image", "text"]] = "image"

    kind: Literal["checkpoint"] = "checkpoint"
    architecture: Architecture
    """Network that the file's tensors belong to."""
    path: str
    """A .pth, .pt or .safetensors state dict, relative to the project's folder, or `package:DISTRIBUTION/PATH`: a file
    of an installed package. Its classifier is skipped, by name."""
    rename: Rename | None = None
    """For a file with other names for the same tensors: {pattern: replacement, …} of regular expressions, or by_order
    where order, shapes and last names agree one to one."""
    sha256: Sha256 | None = None
    """SHA-256 of the file, no other is taken; null = any. The pretrain stage fills it in, so every model names its
    file."""
    inputs: ImagePreprocess
    """Preprocessing of the images that these weights were trained with."""

    @field_validator("rename")
    @classmethod
    def _rules(cls, value: Rename | None) -> Rename | None:
        return check_rules(value)

    def preprocess(self) -> ImagePreprocess:
        """As stated."""
        return self.inputs

    def encoder(self) -> Encoder:
        """The architecture with its own random initialisation."""
        return self.architecture.build(self.inputs.size).encode()

    def resolved(self) -> "Checkpoint":
        """With the file's hash."""
        return self.model_copy(update={"sha256": file_hash(local_path(self.path))})

    def pretrained(self) -> tuple[Encoder, dict[str, str | list[str]]]:
        """Reads the file without running any code in it, and lays it over the architecture.

        Raises ConfigError that names the missing, unexpected and wrongly shaped tensors, and for another file than
        `sha256` says. The origin says what was unwrapped and how names were changed to fit.
        """
        path = local_path(self.path)
        state, notes = read_state(path)
        digest = check_hash(path, self.sha256, "backbone.sha256")
        built, ordered = self.architecture.build(self.inputs.size), path.suffix != ".safetensors"
        if self.rename == "by_order" and not ordered:
            raise ConfigError(f"backbone.rename: by_order, but {self.path} is safetensors, which keeps no order")
        if self.rename is not None:
            renamed, note = rename_state(state, built.model, built.heads, self.rename, self.path)
            loaded = load_backbone(built.model, built.heads, renamed, self.path)
            notes.append(note)
        else:
            hint = offer(state, built.model, built.heads, ordered)
            loaded = load_backbone(built.model, built.heads, state, self.path, hint)
        changes = "; ".join([*notes, *loaded.notes])
        origin = f"{self.path} ({changes})" if changes else self.path
        return built.encode(), {"origin": origin, "sha256": digest, "skipped": loaded.skipped}
