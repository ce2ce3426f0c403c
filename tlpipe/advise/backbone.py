"""A backbone by a short form, for `tlpipe advise`: no params.yaml needed."""

from pathlib import Path
from typing import NamedTuple

import torch

from tlpipe.backbones import AnyBackbone
from tlpipe.backbones.base import Encoder
from tlpipe.config import ConfigError, parse, read
from tlpipe.preprocess.image import ImagePreprocess
from tlpipe.train.randomness import derive
from tlpipe.train.source import ABOUT, load_source, source_encoder

FORMS = (
    "torchvision:NAME, timm:NAME, checkpoint:FILE@torchvision:NAME (or @timm:NAME, @module:PACKAGE.MODULE:CALLABLE), "
    "a params.yaml, or a folder that the pretrain stage wrote (models/source)"
)


class Candidate(NamedTuple):
    """A backbone with its weights."""

    name: str
    preprocess: ImagePreprocess
    encoder: Encoder
    control: Encoder
    """The same network with random weights."""


def candidate(form: str, size: int | None, seed: int) -> Candidate:
    """The backbone that a short form names.

    Args:
        form: One of FORMS.
        size: Edge of the images in pixels; None = what the weights were made for (224 for a checkpoint, with
            ImageNet's normalisation: a file does not say).
        seed: Of the random weights.

    Raises:
        ConfigError: the form is none of FORMS, or there are no such weights.
    """
    folder = Path(form)
    if (folder / ABOUT).is_file():
        source = load_source(folder)
        backbone, preprocess, encoder = source.backbone, source.preprocess, source_encoder(folder, source)
    else:
        backbone = parse(_spec(form, size), AnyBackbone, f"--backbone {form}")
        if backbone.trained_here:
            raise ConfigError(
                f"--backbone {form}: {backbone.kind} is trained here; run `dvc repro pretrain`, and give models/source"
            )
        preprocess, encoder = backbone.preprocess(), backbone.pretrained()[0]
    if not isinstance(preprocess, ImagePreprocess):
        raise ConfigError(
            f"--backbone {form}: {backbone.kind} reads texts, and this command images; use the advise stage"
        )
    torch.manual_seed(derive(seed, "control"))
    return Candidate(form, preprocess, encoder, backbone.encoder())


def _spec(form: str, size: int | None) -> dict[str, object]:
    """The `backbone` section that a short form stands for."""
    if form.endswith((".yaml", ".yml")):
        return dict(read(Path(form)).get("backbone") or {})
    kind, _, rest = form.partition(":")
    if kind in ("torchvision", "timm") and rest:
        return {"kind": kind, "name": rest, "size": size}
    path, _, architecture = rest.partition("@")
    library, _, name = architecture.partition(":")
    if kind == "checkpoint" and path and name:
        edge = size or ImagePreprocess().size
        inputs = {"size": edge, "resize_to": round(edge * 256 / 224)}
        return {"kind": kind, "path": path, "architecture": {"library": library, "name": name}, "inputs": inputs}
    raise ConfigError(f"--backbone {form!r} names no backbone; allowed: {FORMS}")
