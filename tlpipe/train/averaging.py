"""An average over the weights of all steps, which is then what is validated and kept."""

import copy

import torch
from torch import nn

from tlpipe.train.poststeps import Weights


class MovingAverage:
    """mean = decay * mean + (1 - decay) * weights after each step; counters are taken as they are."""

    def __init__(self, model: nn.Module, decay: float | None) -> None:
        """It begins with the weights of `model`; None = there is no average, and `weights` stays None."""
        self.decay = decay
        self.weights: Weights | None = copy.deepcopy(model.state_dict()) if decay else None

    def begin(self, weights: Weights) -> None:
        """Begin again with these weights."""
        if self.weights is not None:
            self.weights = copy.deepcopy(weights)

    @torch.no_grad()
    def step(self, model: nn.Module) -> None:
        """`model` has made a step."""
        if self.weights is None or self.decay is None:
            return
        for name, value in model.state_dict().items():
            mean = self.weights[name]
            if mean.is_floating_point():
                mean.lerp_(value, 1 - self.decay)
            else:
                mean.copy_(value)
