"""The pooled features of every depth side by side, as an encoder: what the all-depth head reads."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from tlpipe.backbones.base import Encoder, pool
from tlpipe.config import ConfigError


class AllDepths(Encoder):
    """An encoder whose features are those of every cut of another, pooled, from the input to the top."""

    def __init__(self, inner: Encoder, size: int) -> None:
        """`size` is the edge of the inputs in pixels: a forward pass of one black image tells the widths."""
        super().__init__()
        self.inner = inner
        self.groups, self.cuts = inner.groups, (0, len(inner.groups))
        self.channel_axis = inner.channel_axis
        self.widths = _widths(inner, size)
        """Features of each depth."""
        self.feature_dim = sum(self.widths)

    def run(self, x: Tensor, start: int = 0, stop: int | None = None) -> Tensor:
        """All of it, or nothing (`start` = `stop`): every depth is part of the result, so there is no cut inside."""
        stop = len(self.groups) if stop is None else stop
        if start == stop:
            return x
        if (start, stop) != self.cuts:
            raise ConfigError(f"features of every depth cannot be computed from group {start} to {stop} alone")
        pooled = []
        for low, high in zip(self.inner.cuts, self.inner.cuts[1:], strict=False):
            x = self.inner.run(x, low, high)
            pooled.append(pool(x, self.channel_axis))
        return torch.cat(pooled, 1)

    def members(self, group: str) -> Iterator[tuple[str, nn.Module]]:
        """The inner encoder's, with their names in this one."""
        for name, module in self.inner.members(group):
            yield f"inner.{name}" if name else "inner", module


@torch.no_grad()
def _widths(encoder: Encoder, size: int) -> tuple[int, ...]:
    place, training = next(encoder.parameters()).device, encoder.training
    encoder.eval()
    widths = tuple(features.shape[1] for _, features in encoder.depths(torch.zeros(1, 3, size, size, device=place)))
    encoder.train(training)
    return widths
