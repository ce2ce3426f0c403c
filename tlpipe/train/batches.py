"""Which samples make a batch, and how they come from the memory-mapped array to the device."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tlpipe.data.packed import Packed, Split


@dataclass(frozen=True)
class Batches:
    """The packed images of one training, batch by batch; nothing but the batch in hand is in memory."""

    packed: Packed
    device: torch.device

    def load(self, rows: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Packed images (B, R, R, 3) uint8 and labels (B,) int64 of `rows`, on the device."""
        images = torch.from_numpy(np.ascontiguousarray(self.packed.images[rows]))
        labels = torch.from_numpy(self.packed.labels[rows])
        return images.to(self.device, non_blocking=True), labels.to(self.device, non_blocking=True)

    def sweep(self, split: Split, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Every sample of a split once, in order."""
        rows = self.packed.rows(split)
        for start in range(0, len(rows), size):
            yield self.load(rows[start : start + size])


def epoch_order(
    labels: NDArray[np.int64], rows: NDArray[np.int64], size: int, balanced: bool, generator: np.random.Generator
) -> list[NDArray[np.int64]]:
    """The rows of one epoch, shuffled and cut into batches of at most `size` that differ by at most one sample.

    A last batch of one or two samples would make batch normalisation meaningless, so there is none.
    `balanced` draws the classes equally often, with replacement.
    """
    if balanced:
        counts = np.bincount(labels[rows])
        weights = 1.0 / counts[labels[rows]]
        order = generator.choice(rows, size=len(rows), p=weights / weights.sum())
    else:
        order = generator.permutation(rows)
    return np.array_split(order, max(1, -(-len(order) // size)))


def class_weights(labels: NDArray[np.int64], classes: int) -> NDArray[np.float32]:
    """Inverse class frequencies n / (C * n_c), (C,): their mean over the samples is 1."""
    counts = np.bincount(labels, minlength=classes)
    return (len(labels) / (classes * counts)).astype(np.float32)
