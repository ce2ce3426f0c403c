"""Make the offline default's source backbone: the training core, on rendered letters."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.lib.format import open_memmap

from tlpipe.backbones.letters import Letters
from tlpipe.data.letters import CLASSES, EDGE, letters
from tlpipe.data.packed import Packed
from tlpipe.strategies.scratch import Scratch
from tlpipe.tasks.image_classification.spec import ImageClassification
from tlpipe.train.hardware.device import Machine
from tlpipe.train.inputs.batches import Batches
from tlpipe.train.model import Classifier
from tlpipe.train.spec import Augment, Cache, Training
from tlpipe.train.trainer.loop import Trainer
from tlpipe.train.trainer.randomness import derive

HELD_OUT = 37 * 16
"""Letters kept for validation, beyond `Letters.samples`."""
AUGMENT = Augment(flip=False, zoom=(0.9, 1.1), rotate=5, shift=0.05, brightness=0, mixup=0, cutmix=0)
TASK = ImageClassification()
NO_CACHE = Cache(views=0, noise=0, storage="auto", gigabytes=0)


def render_letters(backbone: Letters, folder: Path) -> Iterator[int]:
    """Write the source data set to `folder` as packed arrays; yields 1 for each letter."""
    folder.mkdir(parents=True, exist_ok=True)
    total = backbone.samples + HELD_OUT
    images = open_memmap(folder / "images.npy", "w+", np.uint8, (total, EDGE, EDGE, 3))
    labels = np.empty(total, np.int64)
    for index, (image, label) in enumerate(letters(total, backbone.seed)):
        images[index], labels[index] = image, label
        yield 1
    images.flush()
    np.save(folder / "labels.npy", labels)
    ranges = {"train": (0, backbone.samples), "validation": (backbone.samples, total), "test": (total, total)}
    about = {
        "classes": CLASSES,
        "task": TASK.kind,
        "preprocess": backbone.preprocess().model_dump(),
        "ranges": ranges,
        "fingerprint": f"letters/{backbone.samples}/{backbone.seed}",
    }
    (folder / "dataset.json").write_text(json.dumps(about))


def letters_trainer(backbone: Letters, folder: Path, machine: Machine) -> Trainer:
    """A trainer on the rendered letters in `folder`; its model's encoder is the source backbone."""
    packed = Packed.open(folder)
    torch.manual_seed(derive(backbone.seed, "initialise"))
    encoder = backbone.encoder()
    model = Classifier(encoder, TASK.head(encoder.feature_dim, len(packed.classes), dropout=0.0))
    plan = Scratch(kind="scratch", lr=2e-3, epochs=backbone.epochs).plan(encoder.groups)
    training = Training(
        seed=backbone.seed, batch_size=64, optimizer="adamw", weight_decay=0.02, schedule="cosine", warmup=0.1,
        label_smoothing=0.1, clip_norm=1.0, norm_statistics="batch",
        balance="none", dropout=0.0, ema=None, monitor="loss",
        augment=AUGMENT, cache=NO_CACHE,
    )  # fmt: skip
    return Trainer(model, plan, TASK, training, Batches(packed, machine.device), machine)
