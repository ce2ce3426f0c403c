"""The pooled features of every depth side by side, as an encoder: what the all-depth head reads."""

from collections.abc import Iterator
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tlpipe.backbones.base import Encoder
from tlpipe.config import ConfigError


class AllDepths(Encoder):
    """An encoder whose features are those of every cut of another, pooled, from the input to the top."""

    def __init__(self, inner: Encoder, example: NDArray[Any]) -> None:
        """`example` is one input of `inner`, as `preprocess.example()` gives it."""
        super().__init__()
        self.inner = inner
        self.groups, self.cuts = inner.groups, (0, len(inner.groups))
        self.channel_axis = inner.channel_axis
        self.widths = inner.depth_widths(example)
        """Features of each depth."""
        self.feature_dim = sum(self.widths)

    def run(self, x: Tensor, start: int = 0, stop: int | None = None) -> Tensor:
        """All of it, or nothing (`start` = `stop`): every depth is part of the result, so there is no cut inside."""
        stop = len(self.groups) if stop is None else stop
        if start == stop:
            return x
        if (start, stop) != self.cuts:
            raise ConfigError(f"features of every depth cannot be computed from group {start} to {stop} alone")
        return torch.cat(list(self.inner.pooled_depths(x)), -1)

    def members(self, group: str) -> Iterator[tuple[str, nn.Module]]:
        """The inner encoder's, with their names in this one."""
        for name, module in self.inner.members(group):
            yield f"inner.{name}" if name else "inner", module
