"""The learning-rate range test: a short training whose rate climbs from far too low to far too high.

Source: Smith 2017, "Cyclical learning rates for training neural networks", arXiv 1506.01186, section 3.3.
"""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from tlpipe.config import ConfigError
from tlpipe.schedule import factor
from tlpipe.strategies.plan import Plan
from tlpipe.train.spec import Training
from tlpipe.train.trainer.events import Epoch, Step
from tlpipe.train.trainer.loop import Trainer

SMOOTHING = 0.9
"""Weight of the past in the running mean of the loss."""
BLOWN_UP = 4.0
"""Times the lowest smoothed loss at which nothing is left to see."""
BELOW = 10.0
"""The suggestion is so many times below the rate at which the loss is lowest: there it is about to turn."""


class Point(NamedTuple):
    """One step: the highest rate, and the running mean of the training loss."""

    lr: float
    loss: float


def range_plan(plan: Plan, training: Training, high: float, steps: int, samples: int) -> tuple[Plan, Training]:
    """The last phase of `plan` alone, whose highest rate climbs by six powers of ten to `high` in about `steps` steps.

    The other groups keep their ratio to it. Raises ConfigError when the plan trains nothing.
    """
    if not plan.phases:
        raise ConfigError(f"{plan.strategy} has no learning rate: its head is fitted to convergence")
    last = plan.phases[-1]
    top = max(rate for rate in last.rates.values() if rate is not None)
    rates = {group: None if rate is None else rate / top * high for group, rate in last.rates.items()}
    epochs = math.ceil(steps / math.ceil(samples / training.batch_size))
    phase = last.model_copy(update={"rates": rates, "epochs": epochs})
    changed = {"schedule": "rising", "warmup": 0.0, "patience": None, "ema": None}
    return (
        plan.model_copy(update={"phases": (phase,), "soup": 0, "wise_ft": False}),
        training.model_copy(update=changed),
    )


def lr_range(trainer: Trainer) -> Iterator[Point]:
    """Follow a trainer made with `range_plan`; ends where the loss has blown up."""
    smoothed, before, best, count, phase = 0.0, 0.0, math.inf, 0, trainer.plan.phases[0]
    high = max(rate for rate in phase.rates.values() if rate is not None)
    try:
        for event in trainer.run():
            if isinstance(event, Epoch):
                before = 0.0
            if not isinstance(event, Step):
                continue
            total, batch = trainer.state()["at"]["loss_sum"], len(trainer.rows) * phase.epochs / event.total
            smoothed = SMOOTHING * smoothed + (1 - SMOOTHING) * (total - before) / batch
            before, count = total, count + 1
            rate = high * factor(event.done - 1, event.total, 0, trainer.training.schedule)
            point = Point(rate, smoothed / (1 - SMOOTHING**count))
            best = min(best, point.loss)
            yield point
            if point.loss > BLOWN_UP * best:
                return
    except ConfigError:
        return  # the loss is no number any more: far too high was reached


def suggestion(points: Sequence[Point]) -> float:
    """A peak rate: a tenth of where the smoothed loss is lowest, to two digits."""
    return float(f"{min(points, key=lambda point: point.loss).lr / BELOW:.1e}")
