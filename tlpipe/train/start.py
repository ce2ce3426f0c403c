"""The model that a fine-tuning begins with."""

from functools import partial
from pathlib import Path

import torch

from tlpipe.data.packed import Packed
from tlpipe.strategies.plan import Plan
from tlpipe.tasks.base import Task
from tlpipe.train.depths import AllDepths
from tlpipe.train.embed import Features
from tlpipe.train.head import Fitted, Head, best_tilt
from tlpipe.train.linear import FITS, install
from tlpipe.train.model import Classifier, load_model
from tlpipe.train.randomness import derive
from tlpipe.train.spec import Training


def starting_model(plan: Plan, head: Path, training: Training) -> Classifier:
    """The head stage's model in the folder `head`, or the same network with fresh weights, as the plan says.

    With the recipe's dropout before the head.
    """
    model, about = load_model(head)
    task: Task = about.task
    encoder, trained = model.encoder, model.head.state_dict()
    if plan.start == "random":
        torch.manual_seed(derive(training.seed, "initialise"))
        encoder = about.backbone.encoder()
    layers = task.head(encoder.feature_dim, len(about.labels), training.dropout)
    if plan.start == "head":
        layers.load_state_dict(trained)
    return Classifier(encoder, layers)


def all_depths_model(
    head: Path, spec: Head, packed: Packed, features: Features, dropout: float
) -> tuple[Classifier, Fitted, float]:
    """The frozen backbone below a head that is fitted here on the kept features of every depth, that fit, its tilt.

    Validation chooses the tilt as it chooses the penalty. `head` is the head stage's folder, which knows the task, the
    labels and the backbone.
    """
    model, about = load_model(head)
    encoder = AllDepths(model.encoder, about.preprocess.example())
    fit = partial(FITS[packed.preprocess.kind], spec, packed, features, features.groups, encoder.widths)
    tilt, fitted = best_tilt(fit)
    layers = about.task.head(encoder.feature_dim, len(about.labels), dropout)
    install(layers, fitted)
    return Classifier(encoder, layers), fitted, tilt
