"""Activations on disk: written once in row order, mapped and read by row; exact, in half the bytes, or in a quarter."""

import errno
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
import torch
from numpy.lib.format import open_memmap
from numpy.typing import NDArray
from torch import Tensor

from tlpipe.train.cache.cache_folder import ABOUT, half_of
from tlpipe.train.inputs.batches import RowNumbers, Rows

Storage = Literal["exact", "half", "int8"]
VALUES, RANGES = "values.npy", "ranges.npy"
LEVELS = 255
Encoded = tuple[NDArray[Any], NDArray[np.float32] | None]
"""Values to store, and for int8 the lowest value and the step of each sample and channel (B, C, 2)."""


@dataclass(frozen=True)
class Layout:
    """How activations of one kind lie in the arrays."""

    storage: Storage
    dtype: str
    """Of the computed activations: float32, bfloat16 or float16."""
    order: tuple[int, ...]
    """Axes as they lie in memory: channels-last activations come back channels-last."""
    channel: int
    """The axis that has a range of its own for int8."""

    @classmethod
    def of(cls, x: Tensor, storage: Storage, channel_axis: int) -> "Layout":
        """For activations like `x` (B, ...), `channel_axis` as in `Encoder` for 4-D ones; tokens have theirs last."""
        strides = x.stride()
        order = (0, *sorted(range(1, x.ndim), key=lambda axis: -strides[axis]))
        channel = channel_axis % x.ndim if x.ndim == 4 else x.ndim - 1
        return cls(storage, str(x.dtype).removeprefix("torch."), order, channel)

    @classmethod
    def read(cls, about: dict[str, Any]) -> "Layout":
        """From what `dataclasses.asdict` gave, also by way of JSON."""
        return cls(**{**about, "order": tuple(about["order"])})

    def encode(self, x: Tensor) -> Encoded:
        """What to store of activations `x` (B, ...)."""
        ranges = None
        if self.storage == "int8":
            x, ranges = self._quantise(x.float())
        elif self.storage == "half" and x.dtype is not torch.bfloat16:
            x = x.half()
        stored = x.permute(self.order).contiguous().cpu()
        if stored.dtype is torch.bfloat16:
            stored = stored.view(torch.int16)  # CUDA gathers no rows of uint16
        return stored.numpy(), ranges

    def decode(self, values: Tensor, ranges: Tensor | None) -> Tensor:
        """What `encode` was given, as near as the storage keeps it: in its type."""
        if values.dtype is torch.int16:
            values = values.view(torch.bfloat16)
        x = values.permute([self.order.index(axis) for axis in range(values.ndim)])
        if ranges is None:
            return x.to(self._dtype)
        shape = [1] * x.ndim
        shape[0], shape[self.channel] = x.shape[0], x.shape[self.channel]
        low, step = (part.reshape(shape) for part in ranges.unbind(-1))
        x = x.float() * step + low
        return x.to(self._dtype)

    @property
    def _dtype(self) -> torch.dtype:
        dtype: torch.dtype = getattr(torch, self.dtype)
        return dtype

    def again(self, encoded: Encoded, device: torch.device) -> Tensor:
        """What will be read back."""
        values, ranges = encoded
        limits = None if ranges is None else torch.from_numpy(ranges).to(device)
        return self.decode(torch.from_numpy(values).to(device), limits)

    def _quantise(self, x: Tensor) -> tuple[Tensor, NDArray[np.float32]]:
        axes = [axis for axis in range(1, x.ndim) if axis != self.channel]
        low, high = x.amin(axes, keepdim=True), x.amax(axes, keepdim=True)
        step = ((high - low) / LEVELS).clamp_min(torch.finfo(torch.float32).tiny)
        ranges = torch.stack([low.flatten(1), step.flatten(1)], dim=-1)
        return ((x - low) / step).round().to(torch.uint8), ranges.cpu().numpy()

    def bytes_per_sample(self, x: Tensor) -> int:
        """Of activations like `x` (B, ...)."""
        elements = x[0].numel()
        if self.storage == "int8":
            return elements + 8 * x.shape[self.channel]
        return elements * (2 if self.storage == "half" else x.element_size())


class Writer:
    """Writes one folder of activations; `close` makes it appear, and nothing half-written ever does.

    Every method but `abandon` raises OSError where the disk is full: a mapped array would end the process there.
    """

    def __init__(self, folder: Path, count: int, layout: Layout) -> None:
        self.folder, self.count, self.layout = folder, count, layout
        self._half = half_of(folder)
        shutil.rmtree(self._half, ignore_errors=True)
        self._half.mkdir(parents=True)
        self._arrays: dict[str, tuple[BinaryIO, int]] = {}

    def write(self, start: int, values: NDArray[Any], ranges: NDArray[np.float32] | None) -> None:
        """Store what `Layout.encode` gave for the samples from row `start` on."""
        self._put(VALUES, start, values)
        if ranges is not None:
            self._put(RANGES, start, ranges)

    def _put(self, name: str, start: int, part: NDArray[Any]) -> None:
        if name not in self._arrays:
            self._arrays[name] = _set_aside(self._half / name, part.dtype, (self.count, *part.shape[1:]))
        file, begin = self._arrays[name]
        file.seek(begin + start * part[0].nbytes)
        file.write(np.ascontiguousarray(part).data)

    def close(self) -> None:
        """Everything is written: move it into place (if another process was first, its equal result stays)."""
        for file, _ in self._arrays.values():
            file.flush()
            os.fsync(file.fileno())
        (self._half / ABOUT).write_text(json.dumps(asdict(self.layout)))
        try:
            self._half.rename(self.folder)
        except FileExistsError:
            pass
        except OSError as error:
            if error.errno != errno.ENOTEMPTY:
                raise
        self.abandon()

    def abandon(self) -> None:
        """Leave nothing behind but what `close` has moved into place."""
        for file, _ in self._arrays.values():
            with suppress(OSError):  # of what was not written yet; it is deleted
                file.close()
        self._arrays.clear()
        shutil.rmtree(self._half, ignore_errors=True)


def _set_aside(path: Path, dtype: np.dtype[Any], shape: tuple[int, ...]) -> tuple[BinaryIO, int]:
    """A new .npy file with all its blocks, where the file system can set them aside, and where its values begin."""
    begin = open_memmap(path, "w+", dtype, shape).offset
    file = path.open("r+b")
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
                file.close()
                raise
    return file, begin


class StoredActivations:
    """Activations of one split and view, by row of that split."""

    def __init__(self, folder: Path, device: torch.device, held: int = 0) -> None:
        """Map them; `held` bytes of the device's memory are taken by others that stay there."""
        self.layout = Layout.read(json.loads((folder / ABOUT).read_text()))
        self.folder = folder
        self.touch()
        self._values = Rows(np.load(folder / VALUES, mmap_mode="r"), device, held)
        ranges, held = folder / RANGES, held + self._values.held
        self._ranges = Rows(np.load(ranges, mmap_mode="r"), device, held) if ranges.is_file() else None

    @property
    def held(self) -> int:
        """Bytes of the device's memory that they take for as long as they are used."""
        return self._values.held + (self._ranges.held if self._ranges else 0)

    def touch(self) -> None:
        """They are used now: what was not for longest goes first where room is needed."""
        with suppress(FileNotFoundError):  # another process needed the room; what is mapped stays
            os.utime(self.folder)

    def stream(self, batches: Iterable[RowNumbers]) -> Iterator[Tensor]:
        """Activations (B, ...) of each batch of rows, on the device, read ahead."""
        if self._ranges is None:
            for values in self._values.stream(batches):
                yield self.layout.decode(values, None)
            return
        listed = list(batches)
        pairs = zip(self._values.stream(listed), self._ranges.stream(listed), strict=True)
        for values, ranges in pairs:
            yield self.layout.decode(values, ranges)
