"""The control: the same network without what the source taught it."""

from collections.abc import Sequence
from typing import Literal

from tlpipe.strategies.base import Epochs, Rate, Strategy
from tlpipe.strategies.plan import HEAD, Phase, Plan


class Scratch(Strategy):
    """Fresh random weights, one rate for all layers; give it a longer schedule, so that it is a fair control."""

    kind: Literal["scratch"]
    lr: Rate
    epochs: Epochs

    def plan(self, groups: Sequence[str]) -> Plan:
        """One phase in which everything trains."""
        rates: dict[str, float | None] = dict.fromkeys([*groups, HEAD], self.lr)
        phase = Phase(name="all", epochs=self.epochs, rates=rates)
        return Plan(strategy=self.kind, start="random", groups=tuple(groups), phases=(phase,))
