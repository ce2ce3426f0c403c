"""Fine-tuning below the all-depth head, and back towards it as far as validation likes."""

from collections.abc import Sequence
from typing import Literal

from tlpipe.strategies.base import Auto, Decay, Epochs, FineTuning, Rate, gamma_of, layerwise
from tlpipe.strategies.plan import Phase, Plan
from tlpipe.strategies.scale import Scale

SHORT = 0.3
"""`epochs: auto` takes this share of `all_layers`' epochs: from a converged head of all depths more bring no more."""


class AllDepthTuning(FineTuning):
    """As `all_layers`, but it starts from the all-depth head, and ends with an interpolation between start and end.

    One training that holds two strategies: where fine-tuning does harm, the interpolation goes all the way back and the
    result is `all_depth_head`, bit for bit. Sources: LP-FT (arXiv 2202.10054) with Head2Toe's idea of a head (arXiv
    2201.03529) and WiSE-FT's end (arXiv 2109.01903).
    """

    kind: Literal["all_depth_tuning"]
    lr: Rate | Auto = "auto"
    """Rate of the head; the groups below follow by `rho`."""
    rho: Decay | Auto = "auto"
    """Rate of the lowest group over the rate of the head."""
    epochs: Epochs | Auto = "auto"
    """Number of passes over the training samples; auto = 0.3 of those of `all_layers`."""
    wise_ft: bool = True
    """Whether the training ends with the best interpolation between the weights at the start and the trained ones, on
    validation (WiSE-FT, arXiv 2109.01903)."""

    def plan(self, groups: Sequence[str], scale: Scale | None = None) -> Plan:
        """One phase in which everything trains."""
        scale = scale or Scale()
        lr = scale.lr("all") if self.lr == "auto" else self.lr
        rho = self.rho if isinstance(self.rho, float) else scale.rho()
        rates: dict[str, float | None] = {**layerwise(groups, lr, gamma_of(rho, len(groups)))}
        epochs = self.epochs if isinstance(self.epochs, int) else scale.epochs(SHORT)
        phase = Phase(name="all", epochs=epochs, rates=rates)
        return self._plan(self.kind, groups, [phase], scale, features="all")
