"""Activations on disk: written once in row order, mapped and read by row; exact, in half the bytes, or in a quarter."""

import json
import os
import platform
import shutil
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.lib.format import open_memmap
from numpy.typing import NDArray
from torch import Tensor

from tlpipe.train.batches import RowNumbers, Rows

Storage = Literal["exact", "half", "int8"]
VALUES, RANGES, ABOUT = "values.npy", "ranges.npy", "about.json"
LEVELS = 255
ABANDONED = 86_400
"""Seconds without a write after which what another machine wrote half is taken for rubbish."""
Encoded = tuple[NDArray[Any], NDArray[np.float32] | None]
"""Values to store, and for int8 the lowest value and the step of each sample and channel (B, C, 2)."""


@dataclass(frozen=True)
class Layout:
    """How activations of one kind lie in the arrays."""

    storage: Storage
    dtype: str
    """Of the computed activations: float32 or bfloat16."""
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

    def encode(self, x: Tensor) -> Encoded:
        """What to store of activations `x` (B, ...)."""
        ranges = None
        if self.storage == "int8":
            x, ranges = self._quantise(x.float())
        elif self.storage == "half" and x.dtype is not torch.bfloat16:
            x = x.half()
        stored = x.permute(self.order).contiguous().cpu()
        if stored.dtype is torch.bfloat16:
            stored = stored.view(torch.uint16)
        return stored.numpy(), ranges

    def decode(self, values: Tensor, ranges: Tensor | None) -> Tensor:
        """What `encode` was given, as near as the storage keeps it: float32, or bfloat16 if it was."""
        if values.dtype is torch.uint16:
            values = values.view(torch.bfloat16)
        x = values.permute([self.order.index(axis) for axis in range(values.ndim)])
        if ranges is None:
            return x if x.dtype is torch.bfloat16 else x.float()
        shape = [1] * x.ndim
        shape[0], shape[self.channel] = x.shape[0], x.shape[self.channel]
        low, step = (part.reshape(shape) for part in ranges.unbind(-1))
        x = x.float() * step + low
        return x.bfloat16() if self.dtype == "bfloat16" else x

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
    """Writes one folder of activations; `close` makes it appear, and nothing half-written ever does."""

    def __init__(self, folder: Path, count: int, layout: Layout) -> None:
        self.folder, self.count, self.layout = folder, count, layout
        self._half = folder.with_name(f"{folder.name}.half-{host()}-{os.getpid()}")
        shutil.rmtree(self._half, ignore_errors=True)
        self._half.mkdir(parents=True)
        self._arrays: dict[str, NDArray[Any]] = {}

    def write(self, start: int, values: NDArray[Any], ranges: NDArray[np.float32] | None) -> None:
        """Store what `Layout.encode` gave for the samples from row `start` on."""
        self._put(VALUES, start, values)
        if ranges is not None:
            self._put(RANGES, start, ranges)

    def _put(self, name: str, start: int, part: NDArray[Any]) -> None:
        if name not in self._arrays:
            self._arrays[name] = open_memmap(self._half / name, "w+", part.dtype, (self.count, *part.shape[1:]))
        self._arrays[name][start : start + len(part)] = part

    def close(self) -> None:
        """Everything is written: move it into place (if another process was first, its equal result stays)."""
        for array in self._arrays.values():
            array.flush()  # type: ignore[attr-defined]
        self._arrays.clear()
        (self._half / ABOUT).write_text(json.dumps(asdict(self.layout)))
        try:
            self._half.rename(self.folder)
        except OSError:
            shutil.rmtree(self._half, ignore_errors=True)


class Stored:
    """Activations of one split and view, by row of that split."""

    def __init__(self, folder: Path, device: torch.device) -> None:
        about = json.loads((folder / ABOUT).read_text())
        self.layout = Layout(**{**about, "order": tuple(about["order"])})
        os.utime(folder)
        self._values = Rows(np.load(folder / VALUES, mmap_mode="r"), device)
        ranges = folder / RANGES
        self._ranges = Rows(np.load(ranges, mmap_mode="r"), device) if ranges.is_file() else None

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


class Shelf:
    """A folder of stored activations under a limit of bytes; the least recently used go first."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def folder(self, key: str) -> Path:
        """Where the activations of `key` are, or will be."""
        return self.root / key

    def has(self, key: str) -> bool:
        """Whether they are there, whole."""
        return (self.root / key / ABOUT).is_file()

    def make_room(self, wanted: int, limit: int, keep: frozenset[str]) -> None:
        """Delete what was used longest ago, but nothing in `keep`, until `wanted` more bytes stay within `limit`."""
        if not self.root.is_dir():
            return
        for folder in self.root.glob("*.half-*"):
            if _abandoned(folder):
                shutil.rmtree(folder, ignore_errors=True)
        folders = sorted((folder for folder in self.root.iterdir() if folder.is_dir()), key=_used)
        sizes = {folder: sum(file.stat().st_size for file in folder.iterdir()) for folder in folders}
        total = sum(sizes.values()) + wanted
        for folder in folders:
            if total > limit and folder.name not in keep and ".half-" not in folder.name:
                shutil.rmtree(folder, ignore_errors=True)
                total -= sizes[folder]


def host() -> str:
    """This machine's name: a process's number says nothing on another that shares the project's folder."""
    return platform.node() or "localhost"


def _abandoned(folder: Path) -> bool:
    """Whether nobody writes to this half-written folder any more; another machine's is judged by its age."""
    owner, _, process = folder.name.rsplit(".half-", 1)[1].rpartition("-")
    if owner == host():
        return not _alive(int(process))
    try:
        return time.time() - max(_used(each) for each in (folder, *folder.iterdir())) > ABANDONED
    except FileNotFoundError:
        return False  # its owner has just moved it into place


def _used(folder: Path) -> float:
    return folder.stat().st_mtime


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
