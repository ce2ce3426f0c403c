"""The source backbone as a folder: what `pretrain` writes and every later stage starts from, network or not."""

import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from tlpipe.backbones import AnyBackbone
from tlpipe.backbones.base import Encoder
from tlpipe.config import ConfigError, Spec, parse
from tlpipe.preprocess import AnyPreprocess

WEIGHTS, ABOUT = "encoder.safetensors", "source.json"


class Source(Spec):
    """What `source.json` says of the weights beside it."""

    backbone: AnyBackbone
    preprocess: AnyPreprocess
    origin: str
    """A file, a hub id, a weights enum, or what they were trained on here."""
    sha256: str
    skipped: tuple[str, ...]
    """Tensors of the published file that were left out on purpose: its classifier."""
    groups: tuple[str, ...]
    """Layer groups from the input to the top."""
    feature_dim: int


def save_source(folder: Path, encoder: Encoder, about: Source) -> None:
    """Write the encoder's state and what is known of it."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {name: value.detach().cpu().contiguous() for name, value in encoder.state_dict().items()}
    save_file(state, folder / WEIGHTS)
    (folder / ABOUT).write_text(about.model_dump_json(indent=2) + "\n")


def load_source(folder: Path) -> Source:
    """What is known of the source backbone. Raises ConfigError when there is none."""
    path = folder / ABOUT
    if not path.is_file():
        raise ConfigError(f"{path} does not exist; the pretrain stage writes it: run `dvc repro`")
    source: Source = parse(json.loads(path.read_text()), Source, str(path))
    return source


def source_encoder(folder: Path, source: Source) -> Encoder:
    """The source backbone with its pretrained weights, on the CPU."""
    with torch.random.fork_rng(devices=[]):
        encoder = source.backbone.encoder()
    encoder.load_state_dict(load_file(folder / WEIGHTS))
    return encoder
