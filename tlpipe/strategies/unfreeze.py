"""Fine-tuning from the head downwards: the top layers only, or all of them, group by group or in larger steps."""

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field, model_validator

from tlpipe.config import ConfigError
from tlpipe.strategies.base import Auto, Decay, Epochs, FineTuning, Rate, gamma_of, layerwise
from tlpipe.strategies.plan import HEAD, Phase, Plan
from tlpipe.strategies.scale import Scale


class TopLayers(FineTuning):
    """Unfreeze the top `layers` groups one after the other; what lies below stays frozen."""

    kind: Literal["top_layers"]
    layers: Annotated[int, Field(ge=1, le=10_000)]
    """Number of layer groups of the backbone, counted from the top, that train in the end."""
    lr: Rate | Auto = "auto"
    """Rate of the head; the groups below follow by `gamma`."""
    gamma: Decay | Auto = "auto"
    """Factor from one group to the one below it."""
    stage_epochs: Epochs | Auto | None = None
    """Passes of each phase but the last; null = auto, where there are several phases."""
    epochs: Epochs | Auto = "auto"
    """Passes of the last phase."""

    @model_validator(mode="after")
    def _stages(self) -> "TopLayers":
        _refuse_idle_stage_epochs(self.layers, self.stage_epochs, "layers")
        return self

    def plan(self, groups: Sequence[str], scale: Scale | None = None) -> Plan:
        """`layers` phases, each with one more group from the top."""
        if self.layers > len(groups):
            raise ConfigError(
                f"layers: {self.layers} groups are to be unfrozen, but this backbone has {len(groups)} "
                f"({', '.join(groups)}); give at most {len(groups)}, or use kind: all_layers"
            )
        scale = scale or Scale()
        lr = scale.lr("top") if self.lr == "auto" else self.lr
        gamma = gamma_of(scale.rho(), len(groups)) if self.gamma == "auto" else self.gamma
        steps = list(range(1, self.layers + 1))
        phases = _staged(groups, layerwise(groups, lr, gamma), steps, _lengths(self.stage_epochs, self.epochs, scale))
        return self._plan(self.kind, groups, phases, scale)


class AllLayers(FineTuning):
    """The head first (the head stage did it), then everything with layer-wise rates: LP-FT (arXiv 2202.10054)."""

    kind: Literal["all_layers"]
    lr: Rate | Auto = "auto"
    """Rate of the head; the groups below follow by `gamma` or `rho`."""
    gamma: Decay | Auto | None = None
    """Factor from one group to the one below it; give this or `rho`, or neither: then rho is auto."""
    rho: Decay | Auto | None = None
    """Rate of the lowest group over the rate of the head: gamma = rho^(1 / number of groups)."""
    stages: Annotated[int, Field(ge=1, le=10_000)] = 1
    """Phases in which the groups are unfrozen from the top down; 1 unfreezes all at once."""
    stage_epochs: Epochs | Auto | None = None
    """Passes of each phase but the last; null = auto, where there are several phases."""
    epochs: Epochs | Auto = "auto"
    """Passes of the last phase, in which everything trains."""

    @model_validator(mode="after")
    def _one_decay(self) -> "AllLayers":
        if self.gamma is not None and self.rho is not None:
            raise ValueError(f"give one of gamma and rho at most, got gamma: {self.gamma}, rho: {self.rho}")
        _refuse_idle_stage_epochs(self.stages, self.stage_epochs, "stages")
        return self

    def plan(self, groups: Sequence[str], scale: Scale | None = None) -> Plan:
        """`stages` phases of about equally many groups."""
        if self.stages > len(groups):
            raise ConfigError(
                f"stages: {self.stages} phases are asked for, but this backbone has {len(groups)} layer groups "
                f"({', '.join(groups)}); give at most {len(groups)}"
            )
        scale = scale or Scale()
        lr = scale.lr("all") if self.lr == "auto" else self.lr
        steps = [round(len(groups) * (index + 1) / self.stages) for index in range(self.stages)]
        rates = layerwise(groups, lr, self._factor(len(groups), scale))
        phases = _staged(groups, rates, steps, _lengths(self.stage_epochs, self.epochs, scale))
        return self._plan(self.kind, groups, phases, scale)

    def _factor(self, groups: int, scale: Scale) -> float:
        if isinstance(self.gamma, float):
            return self.gamma
        return gamma_of(self.rho if isinstance(self.rho, float) else scale.rho(), groups)


def _refuse_idle_stage_epochs(phases: int, stage_epochs: int | str | None, name: str) -> None:
    if phases == 1 and stage_epochs is not None:
        raise ValueError(
            f"stage_epochs: {stage_epochs} has no effect with {name}: 1, which has one phase; set it to null"
        )


def _lengths(stage_epochs: int | str | None, epochs: int | str, scale: Scale) -> tuple[int, int]:
    """Passes of each phase but the last, and of the last; the first means nothing when there is only one phase."""
    before = stage_epochs if isinstance(stage_epochs, int) else scale.stage_epochs()
    return before, epochs if isinstance(epochs, int) else scale.epochs()


def _staged(groups: Sequence[str], rates: dict[str, float], steps: list[int], lengths: tuple[int, int]) -> list[Phase]:
    """One phase an entry of `steps`: that many groups from the top train, and the head."""
    phases = []
    for index, count in enumerate(steps):
        training = {HEAD, *groups[len(groups) - count :]}
        phases.append(
            Phase(
                name="all" if count == len(groups) else f"top {count}",
                epochs=lengths[index == len(steps) - 1],
                rates={group: rate if group in training else None for group, rate in rates.items()},
            )
        )
    return phases
