"""The golden samples of a bundle: which held-out samples they are, and what torch says of them."""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from tlpipe.export.onnx import Calibrated
from tlpipe.export.parity import HeldOut, Pictures
from tlpipe.export.spec import Export
from tlpipe.golden import Golden, GoldenSample, golden_sample
from tlpipe.tasks import facet
from tlpipe.train.model import About

Tokens = tuple[NDArray[np.int32], NDArray[np.uint8]]
"""Ids and token types of one row."""


Samples = Callable[["Truth", About, Any, Sequence[Any]], Iterator[GoldenSample]]
"""How raw samples become golden ones."""


def keep(samples: Any, count: int) -> tuple[Any, list[Any]]:
    """(samples to go on with, `count` of them evenly spread): images are read only once, and are kept as they pass."""
    kept: list[Any] = []
    if not isinstance(samples, HeldOut):
        return samples, [samples.raw[at] for at in _spread(len(samples.raw), count)]
    return replace(samples, raw=_passing(samples.raw, set(_spread(len(samples.packed), count)), kept)), kept


def _spread(size: int, count: int) -> list[int]:
    return np.unique(np.linspace(0, size - 1, min(count, size)).astype(int)).tolist() if size and count else []


def _passing(images: Iterable[Pictures], wanted: set[int], kept: list[Any]) -> Iterator[Pictures]:
    for at, image in enumerate(images):
        if at in wanted:
            kept.append(image)
        yield image


class Truth:
    """Outputs of single rows, by the trained model in torch on the CPU."""

    def __init__(self, model: nn.Module, about: About) -> None:
        self.model, self.names, self.preprocess = Calibrated(model, about), about.task.outputs, about.preprocess

    @torch.no_grad()
    def __call__(self, row: NDArray[Any]) -> dict[str, list[Any]]:
        """Of one input of the network (1, ...), by the output's name."""
        outputs = self.model(torch.from_numpy(row))
        return {name: value[0].tolist() for name, value in zip(self.names, outputs, strict=True)}


def golden(model: nn.Module, about: About, samples: Any, raw: Sequence[Any], spec: Export) -> Golden | None:
    """The golden samples made of `raw`, and for images one of coloured noise; None where none are wanted."""
    if not raw:
        return None
    truth = Truth(model, about)
    made: Samples = facet(about.task.kind, "export:golden_samples")
    return Golden(
        tolerance=spec.tolerance,
        network_tolerance=spec.network_tolerance,
        samples=tuple(made(truth, about, samples, raw)),
    )


def token_sample(truth: Truth, sample: dict[str, Any], rows: Sequence[Tokens]) -> GoldenSample:
    """A sample of texts as a client sends it in JSON, and the outputs of its `rows` of tokens."""
    preprocess: Any = truth.preprocess
    content = json.dumps(sample, ensure_ascii=False).encode()
    return golden_sample("application/json", content, tuple(truth(preprocess.pad([row])) for row in rows))
