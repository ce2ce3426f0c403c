"""The plain side: a training loop in PyTorch alone, as a careful person writes it.

Frozen layers are in eval mode and run without a graph, the images are in channels-last layout, the loss is read once an
epoch, loading processes stay alive. Every phase has its own AdamW and a cosine schedule with warm-up.
"""

import math
import time

import torch
from torch import Tensor, nn

from benchmarks.peers.job import RATES, WARMUP, WEIGHT_DECAY, Answer, Job, Phase, answer
from benchmarks.peers.network import accuracy, build, loader, prepare, trains


def train(job: Job) -> Answer:
    """All phases, validating after every epoch."""
    prepare(job)
    begun = time.perf_counter()
    model = build(job).to(memory_format=torch.channels_last)
    batches, held_out = loader(job, "train"), loader(job, "validation")
    found = 0.0
    for phase in job.phases:
        freeze(model, job, phase)
        optimizer, schedule = _optimizer(model, phase, phase.epochs * len(batches))
        for _ in range(phase.epochs):
            _epoch(model, job, phase, batches, optimizer, schedule)
            found = validate(model, held_out)
    seconds = time.perf_counter() - begun
    return Answer(seconds, found, accuracy(model, job, "test"), len(batches.dataset))  # type: ignore[arg-type]


def freeze(model: nn.Module, job: Job, phase: Phase) -> None:
    """Gradients only for what trains in this phase."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(trains(job, name, phase.part))


def _optimizer(
    model: nn.Module, phase: Phase, steps: int
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LambdaLR]:
    training = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(training, RATES[phase.part], weight_decay=WEIGHT_DECAY)
    warm = max(1, round(WARMUP * steps))

    def factor(step: int) -> float:
        climbed = (step + 1) / warm
        return min(1.0, climbed) * 0.5 * (1 + math.cos(math.pi * max(0, step - warm) / max(1, steps - warm)))

    return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, factor)


def _epoch(
    model: nn.Module, job: Job, phase: Phase, batches: "torch.utils.data.DataLoader[tuple[Tensor, Tensor]]",
    optimizer: torch.optim.Optimizer, schedule: torch.optim.lr_scheduler.LambdaLR,
) -> None:  # fmt: skip
    modes(model, job, phase)
    for x, y in batches:
        optimizer.zero_grad(set_to_none=True)
        logits = model(x.contiguous(memory_format=torch.channels_last))
        nn.functional.cross_entropy(logits, y).backward()
        optimizer.step()
        schedule.step()


def modes(model: nn.Module, job: Job, phase: Phase) -> None:
    """Train mode for what trains; frozen norms keep their statistics and frozen dropout is off."""
    model.train()
    for name, module in model.named_modules():
        if not any(module.children()) and not trains(job, name, phase.part):
            module.eval()


@torch.inference_mode()
def validate(model: nn.Module, batches: "torch.utils.data.DataLoader[tuple[Tensor, Tensor]]") -> float:
    """Accuracy on the validation images, without a graph."""
    model.eval()
    right = total = 0
    for x, y in batches:
        right += int((model(x.contiguous(memory_format=torch.channels_last)).argmax(1) == y).sum())
        total += len(y)
    return right / total


if __name__ == "__main__":
    answer(train, ("numpy", "pillow"))
