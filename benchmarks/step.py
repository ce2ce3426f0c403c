"""What a training step costs beyond the bare network's: `make bench`. Ratios of interleaved medians.

The bare step is forward, cross-entropy, backward and AdamW on a batch that is already there; tlpipe's adds reading the
memory-mapped images, augmentation, schedule, clipping and bookkeeping.
"""

import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.lib.format import open_memmap

from tlpipe.backbones.base import Encoder
from tlpipe.backbones.letters import Letters
from tlpipe.backbones.torchvision import Torchvision
from tlpipe.data.packed import Packed
from tlpipe.preprocess.image import ImagePreprocess
from tlpipe.strategies.scratch import Scratch
from tlpipe.tasks.image_classification.spec import ImageClassification
from tlpipe.train.hardware.device import Machine, Runtime
from tlpipe.train.inputs.batches import Batches
from tlpipe.train.model import Classifier
from tlpipe.train.spec import Augment, Cache, Training
from tlpipe.train.trainer.loop import Trainer

ROUNDS = 12
BATCH = 16
AUGMENT = Augment(flip=True, zoom=(0.8, 1.1), rotate=10, shift=0.05, brightness=0.2, mixup=0, cutmix=0)
TRAINING = Training(
    seed=0, batch_size=BATCH, optimizer="adamw", weight_decay=0.02, schedule="cosine", warmup=0.1, label_smoothing=0.0,
    clip_norm=1.0, norm_statistics="batch",
    balance="none", dropout=0.0, ema=None, monitor="loss", patience=10_000, augment=AUGMENT,
    cache=Cache(views=0, noise=0, storage="auto", gigabytes=0),
)  # fmt: skip


def packed_noise(folder: Path, preprocess: ImagePreprocess, batch: int = BATCH, steps: int = ROUNDS + 1) -> Packed:
    """Random images for so many steps and a batch of validation: content costs nothing once images are packed."""
    total, edge = batch * (steps + 1), preprocess.resize_to
    images = open_memmap(folder / "images.npy", "w+", np.uint8, (total, edge, edge, 3))
    images[:] = np.random.default_rng(0).integers(0, 256, images.shape, dtype=np.uint8)
    images.flush()
    np.save(folder / "labels.npy", np.arange(total) % 10)
    ranges = {"train": [0, total - batch], "validation": [total - batch, total], "test": [total, total]}
    about = {"classes": [str(index) for index in range(10)], "preprocess": preprocess.model_dump(), "ranges": ranges}
    (folder / "dataset.json").write_text(json.dumps({**about, "fingerprint": "noise"}))
    return Packed.open(folder)


def bare_step(encoder: Encoder, machine: Machine, size: int) -> Callable[[], None]:
    """Forward, loss, backward, AdamW, on one fixed batch."""
    model = machine.place(Classifier(encoder, ImageClassification().head(encoder.feature_dim, 10, 0.0))).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    x, y = torch.randn(BATCH, 3, size, size, device=machine.device), torch.arange(BATCH, device=machine.device) % 10

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with machine.autocast():
            loss = torch.nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()

    return step


def timed(work: Callable[[], object], machine: Machine) -> float:
    """Seconds, the device's queue emptied before and after."""
    begun = time.perf_counter()
    work()
    if machine.device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - begun


def measure(name: str, build: Callable[[], Encoder], preprocess: ImagePreprocess, machine: Machine) -> None:
    """Print the medians and their ratio for one network."""
    with tempfile.TemporaryDirectory() as folder:
        packed = packed_noise(Path(folder), preprocess)
        encoder = build()
        plan = Scratch(kind="scratch", lr=1e-4, epochs=1000).plan(encoder.groups)
        model = Classifier(encoder, ImageClassification().head(encoder.feature_dim, 10, 0.0))
        trainer = Trainer(model, plan, ImageClassification(), TRAINING, Batches(packed, machine.device), machine)
        events, bare = trainer.run(), bare_step(build(), machine, preprocess.size)
        next(events), bare()
        ours, base = [], []
        for _ in range(ROUNDS):
            ours.append(timed(lambda: next(events), machine))
            base.append(timed(bare, machine))
    mine, its = statistics.median(ours), statistics.median(base)
    times = f"tlpipe {mine * 1e3:.1f} ms, bare {its * 1e3:.1f} ms"
    print(f"{name:14s} {times}, ratio {mine / its:.3f} ({BATCH} images a step)")


def main() -> None:
    """Measure the offline default's network and MobileNetV2 at 224 pixels."""
    machine = Runtime().resolve()
    print(machine.describe())
    letters = Letters(width=16)
    measure("letters 32", letters.encoder, letters.preprocess(), machine)
    mobile = Torchvision(name="mobilenet_v2")
    measure("mobilenet 224", mobile.encoder, mobile.preprocess(), machine)


if __name__ == "__main__":
    main()
