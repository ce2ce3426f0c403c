"""Tokens of many texts in flat arrays: mapped rather than loaded, and padded only when a batch is read."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlpipe.preprocess.text import TokenPreprocess, even

IDS, TYPES, OFFSETS = "tokens.npy", "token_types.npy", "offsets.npy"


@dataclass(frozen=True)
class Tokens:
    """N texts: `tokens.npy` int32 and `token_types.npy` uint8 one after the other, `offsets.npy` int64 (N + 1,).

    Indexing with row numbers or a slice gives a padded batch (B, C, L) int64 as `TokenPreprocess.pad` makes it, L even.
    """

    ids: NDArray[np.int32]
    types: NDArray[np.uint8]
    offsets: NDArray[np.int64]
    preprocess: TokenPreprocess

    @classmethod
    def open(cls, folder: Path, preprocess: TokenPreprocess) -> "Tokens":
        """Map the arrays of a folder that `write` filled."""
        ids, types = (np.load(folder / name, mmap_mode="r") for name in (IDS, TYPES))
        return cls(ids, types, np.load(folder / OFFSETS), preprocess)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, rows: Any) -> NDArray[np.int64]:
        chosen = range(len(self))[rows] if isinstance(rows, slice) else rows
        bounds = [(self.offsets[row], self.offsets[row + 1]) for row in chosen]
        length = even(int(max(high - low for low, high in bounds)), self.preprocess.max_length)
        return self.preprocess.pad([(self.ids[low:high], self.types[low:high]) for low, high in bounds], length)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each text, special ones included: (N,)."""
        return np.diff(self.offsets)


def write(folder: Path, rows: Sequence[tuple[NDArray[np.int32], NDArray[np.uint8]]]) -> None:
    """Write (ids, token types) of each text, in order, so that `Tokens.open` finds them."""
    np.save(folder / IDS, np.concatenate([ids for ids, _ in rows]))
    np.save(folder / TYPES, np.concatenate([types for _, types in rows]))
    np.save(folder / OFFSETS, np.cumsum([0, *(len(ids) for ids, _ in rows)], dtype=np.int64))
