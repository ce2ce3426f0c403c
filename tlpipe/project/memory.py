"""Memory that training takes, from shapes alone: refused before anything runs where it cannot be had.

Counted is what is there at the end of a forward pass, when most is held: weights, the best ones so far, gradients, the
optimizer's moments, and what the backward pass needs of a batch. That is asked of a network whose weights were never
written: it computes nothing of use, and takes no memory for them.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tlpipe.config import ConfigError
from tlpipe.params import Params, outline
from tlpipe.preprocess.image import ImagePreprocess
from tlpipe.ram import Available, available_memory
from tlpipe.strategies.counting import trained
from tlpipe.strategies.plan import Phase, Plan
from tlpipe.train.hardware.device import Machine
from tlpipe.train.heads.all_depths import AllDepths
from tlpipe.train.model import Classifier
from tlpipe.train.trainer.trainable import apply_freeze

PROCESS = 600 * 10**6
"""Of a process with torch that has done nothing yet."""
FLOAT = 4
MOMENTS = {"adamw": 2, "sgd": 1}
"""Numbers that an optimizer keeps of each one that trains."""
PROBED = 2
"""Samples that go through the network: batch norms train on no single one."""


@dataclass(frozen=True)
class Need:
    """Bytes that the training of one strategy takes."""

    name: str
    state: int
    """Weights twice, gradients and moments, and the process, in each of the processes on the device."""
    batch: int
    """What the backward pass needs of a batch's forward pass."""

    @property
    def total(self) -> int:
        """All of it."""
        return self.state + self.batch

    def describe(self) -> str:
        """For people."""
        parts = f"weights, gradients and moments {_gb(self.state)}, activations of a batch {_gb(self.batch)}"
        return f"finetune@{self.name} needs about {_gb(self.total)} ({parts})"


def require_memory(params: Params, machine: Machine, classes: int) -> list[str]:
    """A line about the strategy that takes most; none where it is not known what is available.

    Raises:
        ConfigError: Some strategy takes more than there is; it names what was estimated, what is there, and what to
            lower.
    """
    available = _available(machine)
    needs = sorted(_needs(params, machine, classes), key=lambda need: need.total)
    if available is None or not needs:
        return []
    most = needs[-1]
    if most.total > available.bytes:
        key = "size" if isinstance(params.backbone.preprocess(), ImagePreprocess) else "max_length"
        sizes = [key] if key in type(params.backbone).model_fields else []
        lower = " or ".join(
            [f"training.batch_size (it is {params.training.batch_size})", *(f"backbone.{each}" for each in sizes)]
        )
        fitting = [f"{need.name} ({_gb(need.total)})" for need in needs if need.total <= available.bytes]
        others = f"; {', '.join(fitting)} would do" if fitting else ""
        raise ConfigError(
            f"memory: {most.describe()}, and {_gb(available.bytes)} {available.by} memory are available; lower "
            f"{lower}, or choose a smaller backbone{others}"
        )
    return [f"memory: {most.describe()} of {_gb(available.bytes)} that are available"]


def _available(machine: Machine) -> Available | None:
    if machine.device.type == "cuda":
        return Available(torch.cuda.mem_get_info(machine.device)[0], "of the GPU's")
    return available_memory()


def _needs(params: Params, machine: Machine, classes: int) -> Iterator[Need]:
    """Of each strategy that trains by gradient descent; those that wait for advice are left out."""
    training, processes = params.training, params.runtime.processes
    together = 1 if machine.device.type == "cuda" else processes  # processes that share the device's memory
    for name, (plan, sizes) in outline(params, classes).items():
        if not plan.phases:
            continue
        phase = max(plan.phases, key=lambda each: trained(each, sizes))
        numbers = 2 * sum(size.total for size in sizes.values())
        numbers += (1 + MOMENTS[training.optimizer]) * trained(phase, sizes)
        copies = together / processes if params.runtime.shard else together
        process = 0 if machine.device.type == "cuda" else PROCESS * together
        samples = training.batch_size * together // processes
        batch = activations(params, plan, phase) * samples // (2 if machine.precision == "bf16" else 1)
        yield Need(name, int(copies * FLOAT * numbers) + process, batch)


def activations(params: Params, plan: Plan, phase: Phase) -> int:
    """Bytes that the backward pass of one sample needs of its forward pass, as float32."""
    preprocess = params.task.preprocess(params.backbone.preprocess())
    example = preprocess.example()
    if not isinstance(preprocess, ImagePreprocess):
        example = np.ones((*example.shape[:2], preprocess.max_length), example.dtype)  # a batch of the longest
    encoder = params.backbone.skeleton()
    with torch.device("meta"):
        if plan.features == "all":
            encoder = AllDepths(encoder, params.backbone.preprocess().example())
        model = Classifier(encoder, params.task.head(encoder.feature_dim, 2, params.training.dropout)).train()
    model = model.to_empty(device="cpu")
    for buffer in model.buffers():
        buffer.zero_()  # positions are looked up by some
    apply_freeze(model, phase, plan.lora)
    own, held = {_storage(each) for each in model.parameters()}, dict[int, Tensor]()

    def keep(tensor: Tensor) -> Tensor:
        if _storage(tensor) not in own:
            held[_storage(tensor)] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model(torch.from_numpy(np.repeat(example, PROBED, 0)))
    return sum(tensor.untyped_storage().nbytes() for tensor in held.values()) // PROBED


def _storage(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


def _gb(number: int) -> str:
    return f"{number / 1e9:.2g} GB" if number < 10**11 else f"{number / 1e9:,.0f} GB"
