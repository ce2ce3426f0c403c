"""Encoder plus head, and the model folder that stages hand to each other."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import Field
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from tlpipe.backbones import AnyBackbone
from tlpipe.backbones.base import Encoder
from tlpipe.config import ConfigError, parse
from tlpipe.tasks.union import AnyTask
from tlpipe.train.heads.all_depths import AllDepths
from tlpipe.train.heads.tfidf import empty_model
from tlpipe.train.trained import ABOUT, Trained

WEIGHTS, HELD_OUT = "model.safetensors", "held_out.npy"


class About(Trained):
    """What `model.json` says: enough to rebuild the model, to name its outputs and to know how it was made."""

    strategy: str
    task: AnyTask
    backbone: AnyBackbone
    labels: tuple[str, ...]
    """Class names in output order."""
    dropout: float
    temperature: float
    """Fitted on the validation split; probabilities = softmax(logits / temperature)."""
    validation: dict[str, float]
    fitted: dict[str, float] = Field(default_factory=dict)
    """What `Task.fitted` found on the validation split."""
    folds: int = 0
    """Number of folds on whose held-out samples everything was chosen; 0 = a single validation split."""
    refit: bool = False
    """Whether the model was trained on what it was chosen on, too: on all labelled samples."""


class Classifier(nn.Module):
    """Preprocessed inputs (B, 3, S, S) -> logits (B, C), not divided by the temperature; of tokens (B, L, C)."""

    def __init__(self, encoder: Encoder, head: nn.Sequential) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = head

    def forward(self, x: Tensor, start: int = 0) -> Tensor:
        """Logits (B, C) of inputs, or of activations after the first `start` groups (one of the encoder's cuts)."""
        logits: Tensor = self.head(self.encoder.run(x, start) if start else self.encoder(x))
        return logits


def save_model(folder: Path, model: nn.Module | dict[str, Tensor], about: About) -> None:
    """Write a model folder from a model or its state; the bytes depend on the weights and `about` alone."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = model if isinstance(model, dict) else model.state_dict()
    state = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    save_file(state, folder / WEIGHTS)
    unused = None if about.fitted else {"fitted"}
    (folder / ABOUT).write_text(about.model_dump_json(indent=2, exclude=unused) + "\n")


def save_held_out(folder: Path, logits: Tensor) -> None:
    """Write held_out.npy: logits (M, C) float32 of the marks of `Packed.pooled`'s validation split, in row order.

    Each by a model that was not trained on it, not divided by the temperature.
    """
    np.save(folder / HELD_OUT, logits.float().cpu().numpy())


def load_held_out(folder: Path) -> Tensor:
    """What `save_held_out` wrote, in double precision."""
    return torch.from_numpy(np.load(folder / HELD_OUT)).double()


def load_about(folder: Path) -> About:
    """What `folder`'s model.json says. Raises ConfigError when there is none."""
    path = folder / ABOUT
    if not path.is_file():
        raise ConfigError(f"{path} does not exist: {folder} is not a model folder; run `dvc repro` to make it")
    data: dict[str, Any] = json.loads(path.read_text())
    about: About = parse(data, About, str(path))
    return about


def load_any(folder: Path) -> tuple[nn.Module, About]:
    """As `load_model`, of a network or of the TF-IDF strategy's n-grams."""
    about = load_about(folder)
    if about.preprocess.kind != "ngrams":
        return load_model(folder)
    state = load_file(folder / WEIGHTS)
    model = empty_model(state)
    model.load_state_dict(state)
    return model.eval(), about


def load_model(folder: Path) -> tuple[Classifier, About]:
    """The model of a folder on the CPU in eval mode, and what is known of it."""
    about = load_about(folder)
    with torch.random.fork_rng(devices=[]):
        encoder = about.backbone.encoder()
    if about.plan.features == "all":
        encoder = AllDepths(encoder, about.preprocess.example())
    head = about.task.head(encoder.feature_dim, len(about.labels), about.dropout)
    model = Classifier(encoder, head)
    model.load_state_dict(load_file(folder / WEIGHTS))
    return model.eval(), about
