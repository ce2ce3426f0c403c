"""Fine-tuning from the head downwards: the top layers only, or all of them, group by group or in larger steps."""

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field, model_validator

from tlpipe.config import ConfigError
from tlpipe.strategies.base import Decay, Epochs, Rate, Strategy, layerwise
from tlpipe.strategies.plan import HEAD, Phase, Plan


class TopLayers(Strategy):
    """Unfreeze the top `layers` groups one after the other; what lies below stays frozen."""

    kind: Literal["top_layers"]
    layers: Annotated[int, Field(ge=1)]
    """How many layer groups of the backbone train in the end, counted from the top."""
    lr: Rate
    """Rate of the head; the groups below follow by `gamma`."""
    gamma: Decay
    """Factor from one group to the one below it."""
    stage_epochs: Epochs | None = None
    """Passes of each phase but the last; null when there is only one phase."""
    epochs: Epochs
    """Passes of the last phase."""

    @model_validator(mode="after")
    def _stages(self) -> "TopLayers":
        _require_stage_epochs(self.layers, self.stage_epochs, "layers")
        return self

    def plan(self, groups: Sequence[str]) -> Plan:
        """`layers` phases, each with one more group from the top."""
        if self.layers > len(groups):
            raise ConfigError(
                f"layers: {self.layers} groups are to be unfrozen, but this backbone has {len(groups)} "
                f"({', '.join(groups)}); give at most {len(groups)}, or use kind: all_layers"
            )
        rates = layerwise(groups, self.lr, self.gamma)
        steps = list(range(1, self.layers + 1))
        return _staged(self.kind, groups, rates, steps, self.stage_epochs, self.epochs)


class AllLayers(Strategy):
    """The head first (the head stage did it), then everything with layer-wise rates: LP-FT (arXiv 2202.10054)."""

    kind: Literal["all_layers"]
    lr: Rate
    """Rate of the head; the groups below follow by `gamma` or `rho`."""
    gamma: Decay | None = None
    """Factor from one group to the one below it; give this or `rho`."""
    rho: Decay | None = None
    """Rate of the lowest group over the rate of the head: gamma = rho^(1 / number of groups)."""
    stages: Annotated[int, Field(ge=1)]
    """Phases in which the groups are unfrozen from the top down; 1 unfreezes all at once."""
    stage_epochs: Epochs | None = None
    """Passes of each phase but the last; null when there is only one phase."""
    epochs: Epochs
    """Passes of the last phase, in which everything trains."""

    @model_validator(mode="after")
    def _one_decay(self) -> "AllLayers":
        if (self.gamma is None) == (self.rho is None):
            raise ValueError(f"give exactly one of gamma and rho, got gamma: {self.gamma}, rho: {self.rho}")
        _require_stage_epochs(self.stages, self.stage_epochs, "stages")
        return self

    def plan(self, groups: Sequence[str]) -> Plan:
        """`stages` phases of about equally many groups."""
        if self.stages > len(groups):
            raise ConfigError(
                f"stages: {self.stages} phases are asked for, but this backbone has {len(groups)} layer groups "
                f"({', '.join(groups)}); give at most {len(groups)}"
            )
        gamma = self.gamma if self.gamma is not None else (self.rho or 1.0) ** (1 / len(groups))
        steps = [round(len(groups) * (index + 1) / self.stages) for index in range(self.stages)]
        return _staged(self.kind, groups, layerwise(groups, self.lr, gamma), steps, self.stage_epochs, self.epochs)


def _require_stage_epochs(phases: int, stage_epochs: int | None, name: str) -> None:
    if phases == 1 and stage_epochs is not None:
        raise ValueError(
            f"stage_epochs: {stage_epochs} has no effect with {name}: 1, which has one phase; set it to null"
        )
    if phases > 1 and stage_epochs is None:
        raise ValueError(
            f"stage_epochs is missing: {name}: {phases} gives {phases} phases; say how long the first ones are"
        )


def _staged(
    kind: str, groups: Sequence[str], rates: dict[str, float], steps: list[int], stage_epochs: int | None, epochs: int
) -> Plan:
    """One phase an entry of `steps`: that many groups from the top train, and the head."""
    phases = []
    for index, count in enumerate(steps):
        training = {HEAD, *groups[len(groups) - count :]}
        name = f"{'all' if count == len(groups) else f'top {count}'}"
        phases.append(
            Phase(
                name=name,
                epochs=epochs if index == len(steps) - 1 or stage_epochs is None else stage_epochs,
                rates={group: rate if group in training else None for group, rate in rates.items()},
            )
        )
    return Plan(strategy=kind, start="head", groups=tuple(groups), phases=tuple(phases))
