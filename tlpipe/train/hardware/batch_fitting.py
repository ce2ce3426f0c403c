"""How many samples go through a network together where nothing is trained: halved when they do not fit into memory."""

import warnings
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

from tlpipe.train.hardware.device import Machine

T = TypeVar("T")


class Halved(UserWarning):
    """Fewer samples than asked for are computed together, because more did not fit into memory."""


class Fitting:
    """Remembers how many samples fitted, and says so with a `Halved` whenever they become fewer."""

    def __init__(self, machine: Machine, size: int) -> None:
        self.machine, self.size = machine, size

    def pieces(self, compute: Callable[[Tensor], T], x: Tensor) -> list[T]:
        """`compute` of consecutive pieces of x (B, ...), of at most `size` samples; what failed is tried in halves.

        Raises:
            torch.OutOfMemoryError: one sample does not fit, or the processes of a team compute only together.
        """
        found: list[T] = []
        done = 0
        while done < len(x):
            piece = x[done : done + self.size]
            try:
                found.append(compute(piece))
                done += len(piece)
                continue
            except torch.OutOfMemoryError:
                if len(piece) == 1 or self.machine.shard:
                    raise
            self.halve(len(piece))  # outside of the except clause, which keeps what was computed alive
        return found

    def halve(self, tried: int) -> None:
        """From now on at most half of the `tried` samples together; what the device had set aside is given back."""
        self.size = max(1, tried // 2)
        torch.cuda.empty_cache()
        text = f"out of memory on {self.machine.device}: {tried} samples did not fit together, from now on {self.size}"
        warnings.warn(text, Halved, stacklevel=2)
