"""Learning-rate schedules: pure functions from the share of a phase that is done to a factor of the peak rate."""

import math
from collections.abc import Callable

DECADES = 6
"""Powers of ten over which the range test's rate climbs."""


def constant(done: float) -> float:
    """1 throughout; `done` in [0, 1]."""
    return 1.0


def linear(done: float) -> float:
    """From 1 straight down to 0."""
    return 1.0 - done


def cosine(done: float) -> float:
    """From 1 to 0 along half a cosine (Loshchilov & Hutter 2017, without restarts)."""
    return 0.5 * (1.0 + math.cos(math.pi * done))


def rising(done: float) -> float:
    """From 10^-6 to 1 by equal factors: for the range test, not for training (Smith 2017, arXiv 1506.01186)."""
    return float(10.0 ** (DECADES * (done - 1.0)))


SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": constant,
    "linear": linear,
    "cosine": cosine,
    "rising": rising,
}


def factor(step: int, steps: int, warmup: int, schedule: str) -> float:
    """Multiplier of the peak rate at `step` of `steps` (0-based): a linear warm-up of `warmup` steps, then `schedule`.

    The first step already moves: warm-up goes 1/(w+1), 2/(w+1), ... w/(w+1).
    """
    if step < warmup:
        return (step + 1) / (warmup + 1)
    return SCHEDULES[schedule]((step - warmup) / max(1, steps - warmup))
