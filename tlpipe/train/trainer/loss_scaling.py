"""Loss scaling: gradients of fp16 underflow, so the loss is multiplied by a factor that the steps themselves adapt.

Source: Micikevicius et al. 2018, "Mixed precision training", arXiv 1710.03740, section 3.2; torch's `GradScaler`.
"""

from collections.abc import Callable, Iterable
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.amp import GradScaler

FIRST, GROWTH = 2.0**12, 500
"""The first factor, and good steps in a row after which it doubles. Fine-tuning is short: from torch's own 65,536 on,
its first steps would be lost to overflows, and 2,000 good ones may never come."""


class LossScaling:
    """Scales the losses of one optimizer's steps where the machine computes in fp16; elsewhere it does nothing.

    A step whose gradients overflow is skipped, and the factor halved: weights, moments and averages stay as they are,
    while the schedule goes on, so that a phase always ends at its last rate.
    """

    def __init__(self, device: torch.device, dtype: torch.dtype) -> None:
        on = dtype is torch.float16
        self._scaler = GradScaler(device.type, init_scale=FIRST, growth_interval=GROWTH) if on else None

    def scaled(self, loss: Tensor) -> Tensor:
        """What to call `backward` of."""
        return loss if self._scaler is None else self._scaler.scale(loss)

    def step(self, parameters: Iterable[nn.Parameter], work: Callable[[], object]) -> bool:
        """Do `work` with the gradients of `parameters` at their real size, if all are finite; whether it was done."""
        if self._scaler is None:
            work()
            return True
        attempt: Any = _Attempt(parameters, work)
        self._scaler.unscale_(attempt)
        self._scaler.step(attempt)
        self._scaler.update()
        return cast(bool, attempt.done)

    def state(self) -> dict[str, Any]:
        """The factor, and since how many steps it has held; empty without scaling."""
        return self._scaler.state_dict() if self._scaler else {}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from `state()`."""
        if self._scaler and state:
            self._scaler.load_state_dict(state)


class _Attempt:
    """What a GradScaler takes for an optimizer: the gradients of these parameters, and what a step is."""

    def __init__(self, parameters: Iterable[nn.Parameter], work: Callable[[], object]) -> None:
        self.param_groups = [{"params": [each for each in parameters if each.grad is not None]}]
        self.done = False
        self._work = work

    def step(self) -> None:
        """Called if all gradients are finite."""
        self._work()
        self.done = True
