"""Exponential moving average of the weights over all steps, which is then what is validated and kept."""

import copy
from typing import Any

import torch
from torch import nn

from tlpipe.train.trainer.checkpoint_selection import placed
from tlpipe.train.trainer.weight_averaging import Weights


class MovingAverage:
    """mean = d * mean + (1 - d) * weights after each step, with d = min(decay, (1 + t) / (10 + t)) at step t.

    t counts from 1 since the average began, so that the weights that it began with are soon forgotten: a decay of
    0.999 alone would leave 55 % of them after 600 steps. Source of the warm-up: `tf.train.ExponentialMovingAverage`
    with `num_updates`. Counters (integers) are taken as they are.
    """

    def __init__(self, model: nn.Module, decay: float | None) -> None:
        """It begins with the weights of `model`; None = there is no average, and `weights` stays None."""
        self.decay = decay
        self.weights: Weights | None = copy.deepcopy(model.state_dict()) if decay else None
        self.steps = 0
        """Since the average began."""

    def begin(self, weights: Weights) -> None:
        """Begin again with these weights."""
        if self.weights is not None:
            self.weights, self.steps = copy.deepcopy(weights), 0

    @torch.no_grad()
    def step(self, model: nn.Module) -> None:
        """`model` has made a step."""
        if self.weights is None or self.decay is None:
            return
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        for name, value in model.state_dict().items():
            mean = self.weights[name]
            if mean.is_floating_point():
                mean.lerp_(value, 1 - decay)
            else:
                mean.copy_(value)

    def state(self) -> dict[str, Any]:
        """The average and its age, for `restore`."""
        return {"weights": self.weights, "steps": self.steps}

    def restore(self, state: dict[str, Any], like: Weights) -> None:
        """Go on from `state()`, with tensors that are where those of `like`, the model's, are."""
        self.weights = None if state["weights"] is None else placed(state["weights"], like)
        self.steps = state["steps"]
