"""Forward passes that are evidence: the frozen backbone, the same network with random weights, and nearby weights."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from tlpipe.backbones.base import Encoder
from tlpipe.data.packed import Packed
from tlpipe.train.cache.embed import depth_features
from tlpipe.train.hardware.batch_fitting import Fitting
from tlpipe.train.hardware.device import Machine
from tlpipe.train.inputs.batches import Batches, RowNumbers, chunks
from tlpipe.train.inputs.views import views_of
from tlpipe.train.trainer.randomness import torch_generator

BATCH = 64
STEP = 0.01
"""Length of a step in weight space, relative to each tensor's norm."""
SHIFTED = 256
"""Samples from which the input shift is estimated."""
Depths = dict[str, NDArray[np.float32]]
"""Pooled features (N, D_g) by group, from the input to the top."""


class Pass(NamedTuple):
    """What a network gave, and how long it took."""

    depths: Depths
    seconds: float


def look(encoder: Encoder, packed: Packed, rows: RowNumbers, machine: Machine, fitting: Fitting | None = None) -> Pass:
    """Features of `rows` at every depth, evaluation view, eval mode."""
    fitting = fitting or Fitting(machine, BATCH)
    machine.place(encoder.eval())
    begun = time.perf_counter()
    found = [features for _, features in depth_features(encoder, packed, fitting, chunks(rows, BATCH))]
    depths = {group: np.concatenate([each[group] for each in found]) for group in found[0]}
    return Pass(depths, time.perf_counter() - begun)


def look_once(path: Path, encoder: Encoder, packed: Packed, rows: RowNumbers, machine: Machine) -> Depths:
    """The features that `look` gives, kept in the .npz file `path`; read from it where it is there."""
    if path.is_file():
        with np.load(path) as kept:
            return {group: kept[group] for group in encoder.groups if group in kept}
    depths = look(encoder, packed, rows, machine).depths
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_suffix(".half.npz")
    np.savez(half, **depths)  # type: ignore[arg-type]
    half.replace(path)
    return depths


@contextmanager
def stepped(encoder: Encoder, seed: int, direction: int) -> Iterator[Encoder]:
    """The encoder a small random step away in weight space; its own weights are back afterwards."""
    before = {name: value.detach().clone() for name, value in encoder.named_parameters()}
    try:
        with torch.no_grad():
            for name, value in encoder.named_parameters():
                noise = torch.randn(value.shape, generator=torch_generator(seed, "direction", direction, name))
                noise = noise.to(value.device)
                value.add_(noise * (STEP * value.norm() / noise.norm().clamp_min(1e-12)))
        yield encoder
    finally:
        with torch.no_grad():
            for name, value in encoder.named_parameters():
                value.copy_(before[name])


def tangents(
    encoder: Encoder, packed: Packed, rows: RowNumbers, machine: Machine, seed: int, directions: int
) -> list[NDArray[np.float32]]:
    """How the top features (N, D) change along random directions of weight space, one array a direction.

    Inner products of such changes estimate the network's tangent kernel, so a probe on features and changes is a sketch
    of linearised fine-tuning (Mu et al. 2020; Wei et al. 2022, arXiv 2203.06176), at one forward pass a direction.
    """
    top = encoder.groups[-1]
    here = look(encoder, packed, rows, machine).depths[top]
    changes = []
    for direction in range(directions):
        with stepped(encoder, seed, direction):
            there = look(encoder, packed, rows, machine).depths[top]
        changes.append((there - here) / np.float32(STEP))
    return changes


def input_shift(encoder: Encoder, packed: Packed, rows: RowNumbers, machine: Machine) -> float | None:
    """How far what enters the batch norms is from what the source gave there; None for a network without any.

    For each channel the 2-Wasserstein distance between the two normal distributions, sqrt((m - m_s)^2 + (d - d_s)^2) /
    d_s, with the source's running mean and deviation; the mean over channels and norms. Blind to the task.
    """
    norms = [
        module for module in encoder.modules() if isinstance(module, _BatchNorm) and module.running_var is not None
    ]
    if not norms:
        return None
    sums: dict[nn.Module, list[tuple[Tensor, Tensor, int]]] = {norm: [] for norm in norms}

    def remember(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        axes = [axis for axis in range(inputs[0].ndim) if axis != 1]
        x = inputs[0].cpu().double() if inputs[0].device.type == "mps" else inputs[0].double()  # MPS has no float64
        sums[norm].append((x.sum(axes), (x * x).sum(axes), x.numel() // x.shape[1]))

    hooks = [norm.register_forward_pre_hook(remember) for norm in norms]
    try:
        fitting, tried = Fitting(machine, BATCH), 0
        while fitting.size != tried:  # a batch that did not fit has left sums behind: begin again
            tried = fitting.size
            for norm in norms:
                sums[norm].clear()
            look(encoder, packed, rows[:: max(1, len(rows) // SHIFTED)], machine, fitting)
    finally:
        for hook in hooks:
            hook.remove()
    return float(np.mean([_distance(norm, sums[norm]) for norm in norms if sums[norm]]))


def _distance(norm: _BatchNorm, seen: list[tuple[Tensor, Tensor, int]]) -> float:
    totals, squared, counts = zip(*seen, strict=True)
    mean = torch.stack(totals).sum(0) / sum(counts)
    deviation = (torch.stack(squared).sum(0) / sum(counts) - mean**2).clamp_min(0).sqrt()
    source_mean, source_deviation = (
        torch.zeros_like(mean) if norm.running_mean is None else norm.running_mean.cpu().double().to(mean.device),
        torch.ones_like(mean)
        if norm.running_var is None
        else (norm.running_var.cpu().double() + norm.eps).sqrt().to(mean.device),
    )
    squares = (mean - source_mean) ** 2 + (deviation - source_deviation) ** 2
    return float((squares.sqrt() / source_deviation).mean())


def shares(encoder: Encoder, packed: Packed, machine: Machine) -> dict[int, float]:
    """Share of the forward pass's multiplications that is spent before each cut of the encoder.

    Those of convolutions and linear layers; what attention multiplies besides is a few percent and left out.
    """
    image = Batches(packed, machine.device).samples.take(np.arange(1))
    x = views_of(packed.preprocess, machine.device).evaluation(image)
    counted: list[int] = []
    layers = [module for module in encoder.modules() if isinstance(module, nn.Linear | nn.modules.conv._ConvNd)]

    def count(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        # every output is a product of one row of the weight
        counted.append(output.numel() * next(layer.parameters())[0].numel())

    hooks, done = [layer.register_forward_hook(count) for layer in layers], {0: 0}
    machine.place(encoder.eval())
    try:
        with torch.no_grad():
            for start, stop in zip(encoder.cuts, encoder.cuts[1:], strict=False):
                x = encoder.run(x, start, stop)
                done[stop] = sum(counted)
    finally:
        for hook in hooks:
            hook.remove()
    return {cut: operations / max(sum(counted), 1) for cut, operations in done.items()}
