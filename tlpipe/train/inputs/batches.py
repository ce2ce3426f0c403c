"""Which samples make a batch, and how they come from the memory-mapped arrays to the device."""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tlpipe.data.packed import Packed

RESIDENT_SHARE = 0.4
"""Of a GPU's free memory: an array that takes at most this lives there for the whole training."""
AHEAD = 2
"""Batches that are read while one is computed on."""
BLUR = 0.1
"""Relative error, drawn anew each epoch, in the lengths by which samples come together: so that batches differ."""
RowNumbers = NDArray[np.int64]


class Rows:
    """Rows of a memory-mapped array (N, ...) as tensors on the device.

    On a GPU the array is copied there once if it fits, and a batch is then gathered without the host; where it does
    not fit, batches are read ahead by a thread into pinned memory. On a CPU nothing but the batches is in memory.
    Tokens are no array: a batch of them is padded when it is read, so they are never copied whole.
    """

    def __init__(self, array: Any, device: torch.device, held: int = 0) -> None:
        """`held` bytes of the device's memory are taken by other arrays that stay there."""
        self.array = array
        self.device = device
        fits = _fits(array, device, held)
        self._resident = torch.from_numpy(np.array(array)).to(device) if fits else None

    @property
    def held(self) -> int:
        """Bytes of the device's memory that the array takes."""
        return 0 if self._resident is None else int(self._resident.nbytes)

    def take(self, rows: RowNumbers) -> Tensor:
        """(len(rows), ...) on the device."""
        if self._resident is not None:
            return self._resident[torch.from_numpy(rows).to(self.device, non_blocking=True)]
        return self._read(rows).to(self.device, non_blocking=True)

    def stream(self, batches: Iterable[RowNumbers]) -> Iterator[Tensor]:
        """`take` of each, read ahead."""
        if self._resident is not None:
            yield from map(self.take, batches)
            return
        with ThreadPoolExecutor(1, "tlpipe-read") as reader:
            waiting: list[Future[Tensor]] = []
            for rows in batches:
                waiting.append(reader.submit(self._read, rows))
                if len(waiting) > AHEAD:
                    yield waiting.pop(0).result().to(self.device, non_blocking=True)
            for each in waiting:
                yield each.result().to(self.device, non_blocking=True)

    def _read(self, rows: RowNumbers) -> Tensor:
        read = torch.from_numpy(np.ascontiguousarray(self.array[rows]))
        return read.pin_memory() if self.device.type == "cuda" else read


def _fits(array: Any, device: torch.device, held: int) -> bool:
    """Whether an array may stay on the GPU: with those that do, it takes at most a share of what was free before."""
    return (
        device.type == "cuda"
        and isinstance(array, np.ndarray)
        and array.nbytes + held <= RESIDENT_SHARE * (torch.cuda.mem_get_info(device)[0] + held)
    )


@dataclass(frozen=True)
class Batches:
    """The packed samples of one training, batch by batch."""

    packed: Packed
    device: torch.device

    @cached_property
    def samples(self) -> Rows:
        """Packed images (R, R, 3) uint8, or tokens, by row."""
        return Rows(self.packed.samples, self.device)

    def labels_of(self, rows: RowNumbers) -> Tensor:
        """What `Targets.batch` gives for these rows, on the device."""
        return torch.from_numpy(self.packed.targets.batch(rows)).to(self.device, non_blocking=True)


def chunks(rows: RowNumbers, size: int) -> Sequence[RowNumbers]:
    """Consecutive parts of at most `size`."""
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def epoch_order(
    labels: NDArray[np.int64],
    rows: RowNumbers,
    size: int,
    balanced: bool,
    generator: np.random.Generator,
    lengths: NDArray[np.int64] | None = None,
) -> list[RowNumbers]:
    """The rows of one epoch, shuffled and cut into batches of at most `size` that differ by at most one sample.

    A last batch of one or two samples would make batch normalisation meaningless, so there is none.
    `balanced` draws the classes equally often, with replacement. With the `lengths` of all samples, those of about the
    same length come into a batch, because a batch is padded to its longest sample.
    """
    if balanced:
        counts = np.bincount(labels[rows])
        weights = 1.0 / counts[labels[rows]]
        order = generator.choice(rows, size=len(rows), p=weights / weights.sum())
    else:
        order = generator.permutation(rows)
    count = max(1, -(-len(order) // size))
    if lengths is None:
        return np.array_split(order, count)
    blurred = lengths[order] * generator.uniform(1, 1 + BLUR, len(order))
    batches = np.array_split(order[np.argsort(blurred, kind="stable")], count)
    return [batches[index] for index in generator.permutation(count)]


def class_weights(labels: NDArray[np.int64], classes: int) -> NDArray[np.float32]:
    """Inverse class frequencies n / (C * n_c), (C,): their mean over the samples is 1 where every class occurs."""
    counts = np.bincount(labels, minlength=classes)
    return (len(labels) / (classes * np.maximum(counts, 1))).astype(np.float32)
