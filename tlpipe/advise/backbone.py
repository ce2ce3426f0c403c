"""A backbone by a short form, for `tlpipe advise`: no params.yaml needed."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import torch

from tlpipe.backbones import AnyBackbone
from tlpipe.backbones.base import Backbone, Encoder
from tlpipe.config import ConfigError, parse, read
from tlpipe.preprocess import AnyPreprocess
from tlpipe.preprocess.image import ImagePreprocess
from tlpipe.preprocess.text import TOKENIZER
from tlpipe.tasks.base import Task
from tlpipe.tasks.image_classification.spec import ImageClassification
from tlpipe.train.pretraining.source import ABOUT, load_source, source_encoder
from tlpipe.train.trainer.randomness import derive

IMAGES = ImageClassification()
FORMS = (
    "torchvision:NAME, timm:NAME, checkpoint:FILE@torchvision:NAME (or @timm:NAME, @module:PACKAGE.MODULE:CALLABLE), "
    "huggingface:NAME, a params.yaml, or a folder that the pretrain stage wrote (models/source)"
)


@dataclass(frozen=True)
class Candidate:
    """A backbone with its weights."""

    name: str
    backbone: Backbone
    preprocess: AnyPreprocess
    encoder: Encoder
    control: Encoder
    """The same network with random weights."""

    def prepare_tokenizer(self, folder: Path) -> None:
        """Write it to `folder`: for models/source the one of its project, where that is still there."""
        own = Path(self.name).resolve().parent.parent / "data/tokenizer" / TOKENIZER
        if Path(self.name).is_dir() and own.is_file():
            shutil.copyfile(own, folder / TOKENIZER)
        else:
            self.backbone.prepare_tokenizer(folder)


def candidate(form: str, size: int | None, seed: int, task: Task = IMAGES) -> Candidate:
    """The backbone that a short form names.

    Args:
        form: One of FORMS.
        size: Edge of the images in pixels, or tokens of a row of texts; None = what the weights were made for (224
            for a checkpoint, with ImageNet's normalisation: a file does not say).
        seed: Of the random weights.
        task: What its features are for.

    Raises:
        ConfigError: the form is none of FORMS, there are no such weights, or they are not for such a task.
    """
    folder = Path(form)
    if (folder / ABOUT).is_file():
        source = load_source(folder)
        backbone, preprocess, encoder = source.backbone, source.preprocess, source_encoder(folder, source)
    else:
        backbone = parse(_spec(form, size, task), AnyBackbone, f"--backbone {form}")
        if backbone.trained_here:
            raise ConfigError(
                f"--backbone {form}: {backbone.kind} is trained here; run `dvc repro pretrain`, and give models/source"
            )
        preprocess, encoder = backbone.preprocess(), backbone.pretrained()[0]
    _check(form, backbone, task)
    torch.manual_seed(derive(seed, "control"))
    return Candidate(form, backbone, task.preprocess(preprocess), encoder, backbone.encoder())


def _check(form: str, backbone: Backbone, task: Task) -> None:
    if backbone.modality != task.modality:
        raise ConfigError(
            f"--backbone {form}: {backbone.kind} reads {backbone.modality}s, and {task.kind} learns from "
            f"{task.modality}s; give another backbone, or other samples"
        )
    if backbone.tokens != task.tokens:
        needed = "none" if task.tokens else "auto, pooler, cls or mean"
        raise ConfigError(
            f"--backbone {form}: its features are those of {'every token' if backbone.tokens else 'whole texts'}, and "
            f"{task.kind} needs the others; set backbone.pooling to {needed}"
        )


def _spec(form: str, size: int | None, task: Task) -> dict[str, object]:
    """The `backbone` section that a short form stands for."""
    if form.endswith((".yaml", ".yml")):
        return dict(read(Path(form)).get("backbone") or {})
    kind, _, rest = form.partition(":")
    if kind in ("torchvision", "timm") and rest:
        return {"kind": kind, "name": rest, "size": size}
    if kind == "huggingface" and rest:
        pooling, length = "none" if task.tokens else "auto", size or task.max_length
        return {"kind": kind, "name": rest, "pooling": pooling, "max_length": length}
    path, _, architecture = rest.partition("@")
    library, _, name = architecture.partition(":")
    if kind == "checkpoint" and path and name:
        edge = size or ImagePreprocess().size
        inputs = {"size": edge, "resize_to": round(edge * 256 / 224)}
        return {"kind": kind, "path": path, "architecture": {"library": library, "name": name}, "inputs": inputs}
    raise ConfigError(f"--backbone {form!r} names no backbone; allowed: {FORMS}")
