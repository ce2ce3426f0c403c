"""One labelled sample of a target: its frozen features, what a model says of it, and the file of what was found."""

import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.advisor.targets import Target
from tlpipe.backbones.base import Encoder
from tlpipe.data.packed import SPLITS, Packed
from tlpipe.train.hardware.device import Machine
from tlpipe.train.heads.head import TILTS, Fitted, Head
from tlpipe.train.inputs.batches import Batches, chunks
from tlpipe.train.inputs.views import views_of
from tlpipe.train.model import Classifier

Record = dict[str, Any]


@dataclass(frozen=True)
class Cell:
    """One labelled sample of a target, and its frozen features."""

    target: Target
    size: int
    seed: int
    packed: Packed
    depths: dict[str, Tensor]
    """Pooled features (N, D_g) by group, rows as in `packed`."""

    def features(self, split: str, all_depths: bool = False) -> Tensor:
        """(N, D) of one split: the last depth's, or those of all depths side by side."""
        low, high = self.packed.ranges[split]
        parts = [each[low:high] for each in self.depths.values()]
        return torch.cat(parts, 1) if all_depths else parts[-1]

    def head(self, spec: Head, all_depths: bool = False) -> Fitted:
        """The converged head on those features; on those of all depths with the tilt that validation chooses."""
        train, validation = ((self.features(split, all_depths), self.labels(split)) for split in SPLITS[:2])
        fit = partial(spec.fit, train, validation, len(self.packed.classes))
        if not all_depths:
            return fit()
        fits = [fit([depth.shape[1] for depth in self.depths.values()], tilt) for tilt in TILTS]
        return min(fits, key=lambda fitted: min(point.validation_loss for point in fitted.path))

    def labels(self, split: str) -> Tensor:
        """(N,) of one split."""
        return torch.from_numpy(self.packed.labels[slice(*self.packed.ranges[split])])


def embedded(encoder: Encoder, packed: Packed, machine: Machine) -> dict[str, Tensor]:
    """Pooled features (N, D_g) of every depth, all splits."""
    views, batches = views_of(packed.preprocess, machine.device), Batches(packed, machine.device)
    parts = chunks(np.arange(len(packed.labels)), 128)
    with torch.inference_mode():
        found = [dict(encoder.depths(views.evaluation(images))) for images in batches.samples.stream(parts)]
    return {group: torch.cat([each[group] for each in found]).clone() for group in found[0]}


def predicted(model: Classifier, packed: Packed, split: str, machine: Machine) -> Tensor:
    """Logits (N, C) on the evaluation view."""
    views, batches = views_of(packed.preprocess, machine.device), Batches(packed, machine.device)
    parts = chunks(np.arange(*packed.ranges[split]), 128)
    with torch.inference_mode():
        return torch.cat([model.eval()(views.evaluation(images)) for images in batches.samples.stream(parts)])


def scores(logits: dict[str, Tensor], cell: Cell) -> Record:
    """Accuracy on validation, test and two random halves of test, and cross-entropy (nats) on validation."""
    right: Record = {
        split: float((logits[split].argmax(1) == cell.labels(split)).double().mean()) for split in SPLITS[1:]
    }
    hits = (logits["test"].argmax(1) == cell.labels("test")).double()
    order = torch.from_numpy(np.random.default_rng(0).permutation(len(hits)))
    loss = float(functional.cross_entropy(logits["validation"].double(), cell.labels("validation")))
    halves = [float(hits[order[start::2]].mean()) for start in range(2)]
    return {**right, "test_halves": halves, "validation_loss": round(loss, 5)}


def read(file: Path) -> list[Record]:
    """The lines that are whole: a kill may have left half of one."""
    records = []
    for line in file.read_text().splitlines() if file.is_file() else []:
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return records
