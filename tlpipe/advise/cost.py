"""What a strategy will cost, in seconds, from its plan and one measured forward pass."""

from collections.abc import Mapping
from dataclasses import dataclass

from tlpipe.strategies.plan import Plan
from tlpipe.train.boundary import prefix
from tlpipe.train.spec import Training


@dataclass(frozen=True)
class Clock:
    """What the machine needs: measured on the forward pass, the rest is arithmetic."""

    forward: float
    """Seconds of one sample's forward pass through the encoder, as measured."""
    shares: Mapping[int, float]
    """Share of its operations before each cut."""

    def seconds(self, plan: Plan, samples: int, training: Training) -> float:
        """Of a training that runs to the end of its plan on `samples` training samples.

        A backward pass costs two forward ones; what is frozen below a phase is computed once a kept view, else in every
        epoch (docs/speed.md has the arithmetic). Validation, early stopping and the head stage are left out.
        """
        return self.forward * samples * sum(self._passes(plan, index, training) for index in range(len(plan.phases)))

    def _passes(self, plan: Plan, index: int, training: Training) -> float:
        """Forward passes a training sample in one phase."""
        phase = plan.phases[index]
        frozen = self.shares[prefix(tuple(self.shares), phase, plan.groups)]
        views = 1 if training.augment.still else training.cache.views
        looks = min(views, phase.epochs) if training.cache.views else phase.epochs
        return looks * frozen + 3 * phase.epochs * (1 - frozen)
