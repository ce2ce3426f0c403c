"""Feature extraction: the backbone stays as it is."""

from collections.abc import Sequence
from typing import Literal

from tlpipe.strategies.base import Strategy
from tlpipe.strategies.plan import Plan
from tlpipe.strategies.scale import Scale


class HeadOnly(Strategy):
    """The head stage's converged logistic head on frozen features, and nothing more."""

    kind: Literal["head_only"]

    def plan(self, groups: Sequence[str], scale: Scale | None = None) -> Plan:
        """No phase: the head stage has done all there is."""
        return Plan(strategy=self.kind, start="head", groups=tuple(groups), phases=())
