"""The timm side: timm's own building blocks, put together in the order of its training script.

The script (`train.py` of huggingface/pytorch-image-models) is not in the wheel. What it does on one device is: datasets
and prefetching loaders from `timm.data`, `create_optimizer_v2`, `create_scheduler_v2`, label smoothing, an epoch of
steps with the loss's running mean, a validation with `accuracy`, the scheduler's step. That is done here with its
channels-last option on, and without its checkpoint files and log lines. It has no option to freeze: the phases use
`timm.utils.freeze` and `unfreeze`, and each one gets its own optimizer and schedule, as a new call of the script would.
"""

import time

import torch
from timm.data import create_dataset, create_loader
from timm.loss import LabelSmoothingCrossEntropy
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2
from timm.utils import AverageMeter, accuracy, freeze, unfreeze
from torch import nn

from benchmarks.peers import job as given
from benchmarks.peers.job import SIZE, Answer, Job, Phase, answer
from benchmarks.peers.network import build, part_of, prepare, trains

SMOOTHING = 0.1
"""The script's default."""


def train(job: Job) -> Answer:
    """All phases, validating after every epoch."""
    prepare(job)
    begun = time.perf_counter()
    model = build(job).to(memory_format=torch.channels_last)
    batches, held_out = _loader(job, "train"), _loader(job, "validation")
    found = 0.0
    for phase in job.phases:
        _freeze(model, job, phase)
        found = _phase(model, phase, batches, held_out)
    seconds = time.perf_counter() - begun
    return Answer(seconds, found, _validate(model, _loader(job, "test")), len(batches.dataset))  # type: ignore[arg-type]


def _loader(job: Job, split: str) -> torch.utils.data.DataLoader[tuple[torch.Tensor, torch.Tensor]]:
    training = split == "train"
    return create_loader(  # type: ignore[no-any-return]
        create_dataset("", root=job.images, split=split, is_training=training),
        input_size=(3, SIZE, SIZE), batch_size=job.batch, is_training=training, use_prefetcher=True,
        scale=(given.SMALLEST_AREA, 1.0), hflip=0.5, color_jitter=None, interpolation="bilinear",
        mean=given.MEAN, std=given.STD, crop_pct=SIZE / given.RESIZE_TO, num_workers=job.workers,
        persistent_workers=job.workers > 0, pin_memory=False, device=torch.device("cpu"),
    )  # fmt: skip


def _freeze(model: nn.Module, job: Job, phase: Phase) -> None:
    """Whole layers, named as deep as the division into parts needs it; batch norms of frozen ones are frozen too."""
    layers = [name for name, _ in model.named_modules() if name and name.count(".") == _depth(job, name)]
    frozen = [name for name in layers if not trains(job, name, phase.part)]
    unfreeze(model, [name for name in layers if name not in frozen])
    if frozen:
        freeze(model, frozen)


def _depth(job: Job, name: str) -> int:
    """Dots in the names of layers: `features.3`, but `layer4` and `fc`."""
    return int(job.backbone == "mobilenet_v2" and part_of(job, name) != "head")


def _phase(
    model: nn.Module, phase: Phase, batches: torch.utils.data.DataLoader[tuple[torch.Tensor, torch.Tensor]],
    held_out: torch.utils.data.DataLoader[tuple[torch.Tensor, torch.Tensor]],
) -> float:  # fmt: skip
    optimizer = create_optimizer_v2(model, opt="adamw", lr=given.RATES[phase.part], weight_decay=given.WEIGHT_DECAY)
    schedule, epochs = create_scheduler_v2(
        optimizer, sched="cosine", num_epochs=phase.epochs, warmup_epochs=round(given.WARMUP * phase.epochs),
        updates_per_epoch=len(batches),
    )  # fmt: skip
    loss, found = LabelSmoothingCrossEntropy(SMOOTHING), 0.0
    for epoch in range(epochs):
        _epoch(model, batches, optimizer, loss, schedule, epoch)
        found = _validate(model, held_out)
        schedule.step(epoch + 1, found)
    return found


def _epoch(
    model: nn.Module, batches: torch.utils.data.DataLoader[tuple[torch.Tensor, torch.Tensor]],
    optimizer: torch.optim.Optimizer, loss: nn.Module, schedule: object, epoch: int,
) -> None:  # fmt: skip
    mean, updates = AverageMeter(), epoch * len(batches)
    model.train()
    for images, labels in batches:
        value = loss(model(images.contiguous(memory_format=torch.channels_last)), labels)
        mean.update(value.item(), len(labels))
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        updates += 1
        schedule.step_update(num_updates=updates, metric=mean.avg)  # type: ignore[attr-defined]


@torch.inference_mode()
def _validate(model: nn.Module, batches: torch.utils.data.DataLoader[tuple[torch.Tensor, torch.Tensor]]) -> float:
    """Accuracy, a share."""
    mean = AverageMeter()
    model.eval()
    for images, labels in batches:
        (right,) = accuracy(model(images.contiguous(memory_format=torch.channels_last)), labels, topk=(1,))
        mean.update(right.item(), len(labels))
    return float(mean.avg) / 100


if __name__ == "__main__":
    answer(train, ("timm",))
