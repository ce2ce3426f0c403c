"""Small networks that read tokens, exported as bundles: for tests of what serves them."""

from pathlib import Path
from typing import Any

import torch

from tlpipe.backbones.bert import Bert
from tlpipe.export.spec import Export
from tlpipe.export.write import export_bundle
from tlpipe.strategies.plan import Plan
from tlpipe.tasks.base import Task
from tlpipe.train.model import About, Classifier

TEMPERATURE = 1.7


def network(task: Task, backbone: Bert, outputs: int) -> Classifier:
    """Random weights that tell samples apart."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        encoder = backbone.encoder()
        made = Classifier(encoder, task.head(encoder.feature_dim, outputs, 0.1)).eval()
        for parameter in made.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return made


def export(
    folder: Path, model: Classifier, task: Task, backbone: Bert, labels: tuple[str, ...], held: Any, **fitted: float
) -> Path:
    """`folder/bundle`, which passed its gate on the samples `held`."""
    about = About(
        strategy="all_layers", run_key="0" * 64, task=task, backbone=backbone,
        preprocess=task.preprocess(backbone.preprocess()), labels=labels, dropout=0.1, temperature=TEMPERATURE,
        fitted=fitted, validation={}, plan=Plan(strategy="all_layers", start="head", groups=(), phases=()),
        total_parameters=1, trainable_parameters=1,
    )  # fmt: skip
    spec = Export(samples=len(held.raw), batch=4)
    export_bundle(folder / "bundle", folder / "parity.json", model, about, held, {}, spec)
    return folder / "bundle"
