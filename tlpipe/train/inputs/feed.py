"""What a phase trains on: fresh views of the pixels, or what its frozen layers once gave."""

from collections.abc import Iterator, Sequence
from typing import Protocol

import torch
from torch import Tensor

from tlpipe.train.cache.activation_cache import VALIDATION, ActivationCache, CacheFill
from tlpipe.train.cache.boundaries import Boundary
from tlpipe.train.hardware.device import Machine
from tlpipe.train.hardware.distributed import Team
from tlpipe.train.inputs.augmentation import draw
from tlpipe.train.inputs.batches import Batches, RowNumbers, chunks
from tlpipe.train.inputs.views import AnyViews
from tlpipe.train.spec import Training
from tlpipe.train.trainer.randomness import derive, torch_generator


class Feed(Protocol):
    """The inputs of one phase; `start` is the group that they go into."""

    start: int
    batches: Batches

    def look(self, epoch: int) -> Iterator[CacheFill]:
        """Make what `epoch` (counted over the whole training) needs."""

    def training(self, order: Sequence[RowNumbers], done: int, place: tuple[int, int], epoch: int) -> Iterator[Tensor]:
        """Inputs of each batch of `order` after the first `done`; `place` is (phase, epoch in it), for the seeds."""

    def validation(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """(inputs, labels) of this process's turns of the validation split in batches of `size`, evaluation view.

        Processes that share the weights out have equally many turns, so that the last batch may come again.
        """


class Fresh:
    """Every epoch draws new views, and all groups compute."""

    start = 0

    def __init__(self, batches: Batches, views: AnyViews, training: Training, machine: Machine) -> None:
        self.batches, self.views, self.spec = batches, views, training
        self.team, self.even = machine.team, machine.shard

    def look(self, epoch: int) -> Iterator[CacheFill]:
        """Nothing to make."""
        yield from ()

    def training(self, order: Sequence[RowNumbers], done: int, place: tuple[int, int], epoch: int) -> Iterator[Tensor]:
        """Augmented views (B, 3, S, S)."""
        draws = draw(sum(map(len, order)), torch_generator(self.spec.seed, "augment", *place))
        draws = draws.to(self.batches.device, non_blocking=True)
        at = sum(map(len, order[:done]))
        shares = [share_of(rows, self.spec, self.team) for rows in order[done:]]
        mine = [rows[share] for rows, share in zip(order[done:], shares, strict=True)]
        for rows, share, packed in zip(order[done:], shares, self.batches.samples.stream(mine), strict=True):
            yield self.views.training(packed, self.spec.augment, draws[at : at + len(rows)][share])
            at += len(rows)

    def validation(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Evaluation views (B, 3, S, S)."""
        parts = self.team.turns(self.team.evened(chunks(self.batches.packed.rows("validation"), size), self.even))
        for part, packed in zip(parts, self.batches.samples.stream(parts), strict=True):
            yield self.views.evaluation(packed), self.batches.labels_of(part)


class Kept:
    """Activations at a boundary; the views take turns, one an epoch."""

    def __init__(self, batches: Batches, frozen: ActivationCache, boundary: Boundary, training: Training) -> None:
        self.batches, self.frozen, self.boundary, self.spec = batches, frozen, boundary, training
        self.start = boundary.cut

    def look(self, epoch: int) -> Iterator[CacheFill]:
        """The epoch's view and the validation split, if they were not looked at before."""
        for view in (VALIDATION, epoch % self.boundary.views):
            yield from self.frozen.look(self.start, view)

    def training(self, order: Sequence[RowNumbers], done: int, place: tuple[int, int], epoch: int) -> Iterator[Tensor]:
        """Activations (B, ...), with noise if it is asked for."""
        stored = self.frozen.stored(self.start, epoch % self.boundary.views)
        first, team = self.batches.packed.cached["train"][0], self.frozen.machine.team
        mine = [rows[share_of(rows, self.spec, team)] - first for rows in order[done:]]
        for index, x in enumerate(stored.stream(mine), start=done):
            yield self._noisy(x, derive(self.spec.seed, "noise", *place, index)) if self.spec.cache.noise else x

    def _noisy(self, x: Tensor, seed: int) -> Tensor:
        generator = torch.Generator(x.device).manual_seed(seed)
        noise = torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)
        return x + noise.mul_(x.std() * self.spec.cache.noise)

    def validation(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Activations (B, ...) of the evaluation view."""
        rows, low = self.batches.packed.rows("validation"), self.batches.packed.cached["validation"][0]
        machine = self.frozen.machine
        parts = machine.team.turns(machine.team.evened(chunks(rows, size), machine.shard))
        stored = self.frozen.stored(self.start, VALIDATION)
        for part, x in zip(parts, stored.stream([part - low for part in parts]), strict=True):
            yield x, self.batches.labels_of(part)


def share_of(rows: RowNumbers, training: Training, team: Team) -> slice:
    """What a process needs of a batch: its share, or all where samples are mixed with those of other processes."""
    mixes = training.augment.mixup or training.augment.cutmix
    return slice(0, len(rows)) if mixes else team.share(len(rows))
