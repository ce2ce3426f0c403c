"""Models that the trainings of a strategy begin with."""

import time
from functools import cached_property
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from tlpipe.data.packed import Packed
from tlpipe.strategies.plan import Plan
from tlpipe.tasks.base import Task
from tlpipe.train.cache.embed import Features
from tlpipe.train.heads.all_depths import AllDepths
from tlpipe.train.heads.head import Head, Solution
from tlpipe.train.heads.linear import CrossFitted, cross_fit, install
from tlpipe.train.model import Classifier, load_held_out, load_model
from tlpipe.train.spec import Training
from tlpipe.train.trainer.randomness import derive

PARTS = "parts.safetensors"
"""In the head stage's folder: weight and bias of the heads that were fitted on the train split of each part."""


def save_parts(folder: Path, parts: tuple[Solution, ...]) -> None:
    """Write the heads of the parts of cross-fitted data."""
    tensors: dict[str, Tensor] = {}
    for index, part in enumerate(parts):
        tensors |= {f"{index}.weight": part.weight.contiguous(), f"{index}.bias": part.bias.contiguous()}
    save_file(tensors, folder / PARTS)


class Starts:
    """The starting models of a plan: of each part of cross-fitted data, and of the training on all of it.

    No part's model has seen what the part holds out: its head was fitted on the part's train split alone.
    """

    def __init__(self, plan: Plan, head: Path, spec: Head, packed: Packed, features: Path) -> None:
        """`head` is the head stage's folder, which knows the task, the labels and the backbone; `features` embed's."""
        self.plan, self.head, self.spec, self.packed, self.features = plan, head, spec, packed, features
        self.seconds = 0.0
        """Spent on `all_depths`."""

    def model(self, training: Training, part: int | None = None) -> Classifier:
        """The model for part number `part` of the data, or for all labelled rows; with the recipe's dropout."""
        model, about = load_model(self.head)
        task: Task = about.task
        dropout = training.dropout if self.plan.phases else 0.0
        if self.plan.features == "all":
            depths = AllDepths(model.encoder, about.preprocess.example())
            layers = task.head(depths.feature_dim, len(about.labels), dropout)
            install(layers, self.all_depths.fitted if part is None else self.all_depths.parts[part])
            return Classifier(depths, layers)
        encoder, trained = model.encoder, model.head.state_dict()
        if self.plan.start == "random":
            torch.manual_seed(derive(training.seed, "initialise"))
            encoder = about.backbone.encoder()
        layers = task.head(encoder.feature_dim, len(about.labels), dropout)
        if self.plan.start == "head":
            layers.load_state_dict(trained)
            if part is not None:
                install(layers, self._part(part))
        return Classifier(encoder, layers)

    @property
    def held_out(self) -> Tensor:
        """Logits (M, C) of the held-out marks by the starting models of their parts."""
        return self.all_depths.logits if self.plan.features == "all" else load_held_out(self.head)

    @cached_property
    def all_depths(self) -> CrossFitted:
        """The head on the cached features of every depth."""
        begun, features, (model, about) = time.perf_counter(), Features.open(self.features), load_model(self.head)
        widths = AllDepths(model.encoder, about.preprocess.example()).widths
        fitted = cross_fit(self.spec, self.packed, features, features.groups, widths)
        self.seconds = time.perf_counter() - begun
        return fitted

    def _part(self, part: int) -> Solution:
        tensors = load_file(self.head / PARTS)
        return Solution(0.0, tensors[f"{part}.weight"], tensors[f"{part}.bias"], 0.0)
