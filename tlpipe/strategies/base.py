"""The contract of a strategy, and what strategies share: rates, and how a training ends."""

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from tlpipe.config import Spec
from tlpipe.strategies.plan import HEAD, L2SP, Lora, Phase, Plan
from tlpipe.strategies.scale import Scale

Auto = Literal["auto"]
"""By the rule of `tlpipe.strategies.scale`, from the number of training samples."""
Rate = Annotated[float, Field(ge=1e-8, le=1)]
"""A peak learning rate; below it float32 weights do not move, above it no pretrained ones survive."""
Epochs = Annotated[int, Field(ge=1, le=10_000)]
Decay = Annotated[float, Field(ge=1e-6, le=1)]
"""A factor from one layer group to the one below it; a smaller one freezes it: leave the group out instead."""
Soup = Annotated[int, Field(ge=0, le=50)]
"""Epochs whose weights may be averaged at the end; 0 = off."""


class Strategy(Spec):
    """Pure data: what to train, when, at which rate."""

    settled: ClassVar[bool] = True
    """Whether the plan follows from these settings alone; else the advise stage has to have run."""
    network: ClassVar[bool] = True
    """Whether it starts from the backbone; else there is nothing of it to advise on."""

    def plan(self, groups: Sequence[str], scale: Scale | None = None) -> Plan:
        """The phases for a backbone with `groups` (from the input to the top, without the head).

        `scale` decides what is `auto`; without one, a thousand samples with the shipped recipe are assumed.
        Raises ConfigError when the backbone does not have the layers that are asked for.
        """
        raise NotImplementedError


class FineTuning(Strategy):
    """A strategy that starts from the head stage's model and unfreezes something."""

    l2_sp: L2SP | Auto | None = None
    """Pull towards the weights at the start in place of weight decay; null = none."""
    wise_ft: bool = False
    """At the end, interpolate between the weights at the start and the trained ones; validation chooses how far
    (Wortsman et al. 2022, arXiv 2109.01903)."""
    soup: Soup = 0
    """At the end, average the best epoch with those of the last so many epochs that do not make validation worse
    (greedy soup of one run's checkpoints, after Wortsman et al. 2022, arXiv 2203.05482)."""

    def _plan(
        self,
        kind: str,
        groups: Sequence[str],
        phases: Sequence[Phase],
        scale: Scale,
        begin: Literal["head", "random"] = "head",
        lora: Lora | None = None,
        features: Literal["last", "all"] = "last",
    ) -> Plan:
        return Plan(
            strategy=kind,
            start=begin,
            groups=tuple(groups),
            phases=tuple(phases),
            features=features,
            l2_sp=scale.l2_sp() if self.l2_sp == "auto" else self.l2_sp,
            wise_ft=self.wise_ft,
            soup=self.soup,
            lora=lora,
        )


def layerwise(groups: Sequence[str], lr: float, gamma: float) -> dict[str, float]:
    """lr_l = lr * gamma^(L - l) for every group and the head, which is l = L and trains at `lr`.

    Source: Howard & Ruder 2018 (arXiv 1801.06146), "discriminative fine-tuning".
    """
    names = [*groups, HEAD]
    return {name: lr * gamma ** (len(names) - 1 - index) for index, name in enumerate(names)}


def gamma_of(rho: float, groups: int) -> float:
    """The factor from one group to the next whose product over all `groups` and the head is `rho`."""
    return float(rho ** (1 / groups))
