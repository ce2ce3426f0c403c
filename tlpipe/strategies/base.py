"""The contract of a strategy, and the learning rates that strategies share."""

from collections.abc import Sequence
from typing import Annotated, ClassVar

from pydantic import Field

from tlpipe.config import Spec
from tlpipe.strategies.plan import HEAD, Plan

Rate = Annotated[float, Field(gt=0, le=10)]
"""A peak learning rate."""
Epochs = Annotated[int, Field(ge=1, le=10_000)]
Decay = Annotated[float, Field(gt=0, le=1)]
"""A factor from one layer group to the one below it."""


class Strategy(Spec):
    """Pure data: what to train, when, at which rate."""

    settled: ClassVar[bool] = True
    """Whether the plan follows from these settings alone; else the advise stage has to have run."""

    def plan(self, groups: Sequence[str]) -> Plan:
        """The phases for a backbone with `groups` (from the input to the top, without the head).

        Raises ConfigError when the backbone does not have the layers that are asked for.
        """
        raise NotImplementedError


def layerwise(groups: Sequence[str], lr: float, gamma: float) -> dict[str, float]:
    """lr_l = lr * gamma^(L - l) for every group and the head, which is l = L and trains at `lr`.

    Source: the seed article's layer-wise rates; Howard & Ruder 2018 (arXiv 1801.06146), "discriminative fine-tuning".
    """
    names = [*groups, HEAD]
    return {name: lr * gamma ** (len(names) - 1 - index) for index, name in enumerate(names)}
