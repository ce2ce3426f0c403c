"""The control: the same network without what the source taught it."""

from collections.abc import Sequence
from typing import Literal

from tlpipe.strategies.base import Auto, Epochs, Rate, Soup, Strategy
from tlpipe.strategies.plan import HEAD, Phase, Plan
from tlpipe.strategies.scale import Scale

LONGER = 3.0
"""Times the passes of a fine-tuning: less than twice is no fair control (He et al. 2019, arXiv 1811.08883)."""


class Scratch(Strategy):
    """Fresh random weights, one rate for all layers; give it a longer schedule, so that it is a fair control."""

    kind: Literal["scratch"]
    lr: Rate | Auto = "auto"
    """Learning rate of all layers."""
    epochs: Epochs | Auto = "auto"
    """Number of passes over the training samples; auto = three times those of `all_layers`."""
    soup: Soup = 0
    """At the end, average the best epoch with those of the last so many epochs that do not make validation worse."""

    def plan(self, groups: Sequence[str], scale: Scale | None = None) -> Plan:
        """One phase in which everything trains."""
        scale = scale or Scale()
        lr = scale.lr("scratch") if self.lr == "auto" else self.lr
        epochs = scale.epochs(LONGER) if self.epochs == "auto" else self.epochs
        rates: dict[str, float | None] = dict.fromkeys([*groups, HEAD], lr)
        phase = Phase(name="all", epochs=epochs, rates=rates)
        return Plan(strategy=self.kind, start="random", groups=tuple(groups), phases=(phase,), soup=self.soup)
