"""Full control: the table of phases as the user writes it."""

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field, model_validator

from tlpipe.config import ConfigError, Spec
from tlpipe.strategies.base import Epochs, FineTuning, Rate
from tlpipe.strategies.plan import HEAD, Phase, Plan, assign
from tlpipe.strategies.scale import Scale


class Row(Spec):
    """One phase: a pattern of layer groups to a learning rate, first match wins."""

    name: Annotated[str, Field(min_length=1)]
    """Name of the phase in logs and tables."""
    epochs: Epochs
    """Number of passes over the training samples."""
    rates: Annotated[dict[str, Rate | None], Field(min_length=1)]
    """Glob pattern of layer groups (or `head`) to peak learning rate; null = frozen. Every group must be covered."""
    adapt: Literal["all", "norms"] = "all"
    """Parameters that train in the groups of the backbone that have a rate: all, or those of norm layers alone."""


class Explicit(FineTuning):
    """Phases exactly as given, in order."""

    kind: Literal["phases"]
    start: Literal["head", "random"]
    """`head` = the head stage's model, `random` = fresh weights."""
    phases: Annotated[tuple[Row, ...], Field(min_length=1)]
    """Phases in order; each has the rates of all layer groups."""

    @model_validator(mode="after")
    def _something_to_refer_to(self) -> "Explicit":
        if self.start == "random" and (self.wise_ft or self.l2_sp):
            raise ValueError("wise_ft and l2_sp refer to the weights at the start: with start: random set neither")
        return self

    def plan(self, groups: Sequence[str], scale: Scale | None = None) -> Plan:
        """The table with its patterns resolved to this backbone's groups."""
        names = [*groups, HEAD]
        phases = []
        for row in self.phases:
            rates = assign(names, list(row.rates.items()))
            if all(rate is None for rate in rates.values()):
                raise ConfigError(f"phase {row.name!r} freezes every layer group: give at least one of them a rate")
            phases.append(Phase(name=row.name, epochs=row.epochs, rates=rates, adapt=row.adapt))
        return self._plan(self.kind, groups, phases, scale or Scale(), begin=self.start)
