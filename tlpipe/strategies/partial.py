"""Fine-tuning of a part: the first block, the norm layers, or low-rank adapters everywhere."""

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field

from tlpipe.config import ConfigError, suggest
from tlpipe.strategies.base import Auto, Decay, Epochs, FineTuning, Rate, gamma_of, layerwise
from tlpipe.strategies.plan import HEAD, Adapt, Lora, Phase, Plan
from tlpipe.strategies.scale import Scale


class FirstBlock(FineTuning):
    """Tune the lowest layer group and the head: for inputs that look different while the question is the source's.

    Source: surgical fine-tuning, Lee et al. 2023, arXiv 2210.11466.
    """

    kind: Literal["first_block"]
    group: str | None = None
    """The layer group that trains instead of the lowest."""
    lr: Rate | Auto = "auto"
    """Rate of the head."""
    factor: Decay = 1.0
    """Rate of the block over that of the head."""
    epochs: Epochs | Auto = "auto"
    """Number of passes over the training samples."""

    def plan(self, groups: Sequence[str], scale: Scale | None = None) -> Plan:
        """One phase."""
        scale, block = scale or Scale(), self.group or groups[0]
        if block not in groups:
            raise ConfigError(f"group: this backbone has no layer group {block!r}{suggest(block, groups)}")
        lr = scale.lr("top") if self.lr == "auto" else self.lr
        rates = {group: lr * self.factor if group == block else None for group in groups}
        epochs = scale.epochs() if self.epochs == "auto" else self.epochs
        phase = Phase(name=f"{block} and head", epochs=epochs, rates={**rates, HEAD: lr})
        return self._plan(self.kind, groups, [phase], scale)


class _Everywhere(FineTuning):
    """A little of every layer group, in one phase."""

    lr: Rate | Auto = "auto"
    """Rate of the head; the groups below follow by `rho`."""
    rho: Decay = 1.0
    """Rate of the lowest group over the rate of the head."""
    epochs: Epochs | Auto = "auto"
    """Number of passes over the training samples."""

    def _phase(self, groups: Sequence[str], scale: Scale, adapt: Adapt) -> Phase:
        lr = scale.lr(adapt) if self.lr == "auto" else self.lr
        epochs = scale.epochs() if self.epochs == "auto" else self.epochs
        rates: dict[str, float | None] = {**layerwise(groups, lr, gamma_of(self.rho, len(groups)))}
        return Phase(name=adapt, epochs=epochs, rates=rates, adapt=adapt)


class NormOnly(_Everywhere):
    """Only the affine parameters of the norm layers train, and the head.

    Source: Frankle et al. 2021, arXiv 2003.00152.
    """

    kind: Literal["norm_only"]

    def plan(self, groups: Sequence[str], scale: Scale | None = None) -> Plan:
        """One phase in which the norms of every group move."""
        scale = scale or Scale()
        return self._plan(self.kind, groups, [self._phase(groups, scale, "norms")], scale)


class LowRank(_Everywhere):
    """Low-rank adapters on every weight matrix and kernel, merged as they train; of the rest only the head trains.

    Source: Hu et al. 2021, arXiv 2106.09685.
    """

    kind: Literal["lora"]
    rank: Annotated[int, Field(ge=1, le=1024)] = 8
    """Rank of the adapters; a matrix with no more rows or columns stays as it is."""
    alpha: Annotated[float, Field(gt=0, le=10_000)] = 16.0
    """Scale of the adapters' product, over `rank`."""

    def plan(self, groups: Sequence[str], scale: Scale | None = None) -> Plan:
        """One phase in which the adapters of every group move."""
        scale = scale or Scale()
        lora = Lora(rank=self.rank, alpha=self.alpha)
        return self._plan(self.kind, groups, [self._phase(groups, scale, "lora")], scale, lora=lora)
