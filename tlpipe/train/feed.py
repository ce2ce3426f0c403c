"""What a phase trains on: fresh views of the pixels, or what its frozen layers once gave."""

from collections.abc import Iterator, Sequence
from typing import Protocol

import torch
from torch import Tensor

from tlpipe.train.augment import Views, draw
from tlpipe.train.batches import Batches, RowNumbers, chunks
from tlpipe.train.frozen import VALIDATION, Boundary, Frozen, Look
from tlpipe.train.randomness import derive, torch_generator
from tlpipe.train.spec import Training


class Feed(Protocol):
    """The inputs of one phase; `start` is the group that they go into."""

    start: int

    def look(self, epoch: int) -> Iterator[Look]:
        """Make what `epoch` (counted over the whole training) needs."""

    def training(self, order: Sequence[RowNumbers], done: int, place: tuple[int, int], epoch: int) -> Iterator[Tensor]:
        """Inputs of each batch of `order` after the first `done`; `place` is (phase, epoch in it), for the seeds."""

    def validation(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """(inputs, labels) of the validation split, evaluation view, in order."""


class Fresh:
    """Every epoch draws new views, and all groups compute."""

    start = 0

    def __init__(self, batches: Batches, views: Views, training: Training) -> None:
        self.batches, self.views, self.spec = batches, views, training

    def look(self, epoch: int) -> Iterator[Look]:
        """Nothing to make."""
        yield from ()

    def training(self, order: Sequence[RowNumbers], done: int, place: tuple[int, int], epoch: int) -> Iterator[Tensor]:
        """Augmented views (B, 3, S, S)."""
        draws = draw(sum(map(len, order)), torch_generator(self.spec.seed, "augment", *place))
        at = sum(map(len, order[:done]))
        draws = draws.to(self.batches.device, non_blocking=True)
        for rows, packed in zip(order[done:], self.batches.images.stream(order[done:]), strict=True):
            yield self.views.training(packed, self.spec.augment, draws[at : at + len(rows)])
            at += len(rows)

    def validation(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Evaluation views (B, 3, S, S)."""
        for packed, labels in self.batches.sweep("validation", size):
            yield self.views.evaluation(packed), labels


class Kept:
    """Activations at a boundary; the views take turns, one an epoch."""

    def __init__(self, batches: Batches, frozen: Frozen, boundary: Boundary, training: Training) -> None:
        self.batches, self.frozen, self.boundary, self.spec = batches, frozen, boundary, training
        self.start = boundary.cut

    def look(self, epoch: int) -> Iterator[Look]:
        """The epoch's view and the validation split, if they were not looked at before."""
        for view in (VALIDATION, epoch % self.boundary.views):
            yield from self.frozen.look(self.start, view)

    def training(self, order: Sequence[RowNumbers], done: int, place: tuple[int, int], epoch: int) -> Iterator[Tensor]:
        """Activations (B, ...), with noise if it is asked for."""
        stored = self.frozen.stored(self.start, epoch % self.boundary.views)
        first = self.batches.packed.ranges["train"][0]
        for index, x in enumerate(stored.stream([rows - first for rows in order[done:]]), start=done):
            yield self._noisy(x, derive(self.spec.seed, "noise", *place, index)) if self.spec.cache.noise else x

    def _noisy(self, x: Tensor, seed: int) -> Tensor:
        generator = torch.Generator(x.device).manual_seed(seed)
        noise = torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)
        return x + noise.mul_(x.std() * self.spec.cache.noise)

    def validation(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Activations (B, ...) of the evaluation view."""
        rows, low = self.batches.packed.rows("validation"), self.batches.packed.ranges["validation"][0]
        parts = chunks(rows, size)
        stored = self.frozen.stored(self.start, VALIDATION)
        for part, x in zip(parts, stored.stream([part - low for part in parts]), strict=True):
            yield x, self.batches.labels[int(part[0]) : int(part[-1]) + 1]
