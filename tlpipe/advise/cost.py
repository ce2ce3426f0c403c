"""What a strategy will cost, in seconds, from its plan and one measured forward pass."""

from collections.abc import Mapping
from dataclasses import dataclass

from tlpipe.strategies.plan import Phase, Plan
from tlpipe.train.cache.boundaries import prefix
from tlpipe.train.spec import Training


@dataclass(frozen=True)
class Clock:
    """What the machine needs: measured on the forward pass, the rest is arithmetic."""

    forward: float
    """Seconds of one sample's forward pass through the encoder, as measured."""
    shares: Mapping[int, float]
    """Share of its operations before each cut."""

    def seconds(self, plan: Plan, samples: int, views: int) -> float:
        """Of a training that runs to the end of its plan on `samples` training samples; `views` as in `views_of`.

        A backward pass costs two forward ones; what is frozen below a phase is computed once a kept view, else in every
        epoch (docs/speed.md has the arithmetic). Validation, early stopping and the head stage are left out.
        """
        return self.forward * samples * sum(self.passes(plan, views))

    def passes(self, plan: Plan, views: int) -> list[float]:
        """What each epoch of the plan costs, in forward passes of a training sample; no clock in it."""
        return [each for phase in plan.phases for each in self._epochs(phase, plan, views)]

    def _epochs(self, phase: Phase, plan: Plan, views: int) -> list[float]:
        frozen = self.shares[prefix(tuple(self.shares), phase, plan.groups)]
        kept = 0 < views < phase.epochs
        return [3 * (1 - frozen) + (0.0 if kept and epoch >= views else frozen) for epoch in range(phase.epochs)]


def views_of(training: Training) -> int:
    """Views of each sample whose frozen activations are kept; 0 = none, every epoch computes them anew."""
    return min(1, training.cache.views) if training.augment.still else training.cache.views
