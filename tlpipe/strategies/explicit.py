"""Full control: the table of phases as the user writes it."""

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field

from tlpipe.config import ConfigError, Spec
from tlpipe.strategies.base import Epochs, Rate, Strategy
from tlpipe.strategies.plan import HEAD, Phase, Plan, assign


class Row(Spec):
    """One phase: a pattern of layer groups to a learning rate, first match wins."""

    name: Annotated[str, Field(min_length=1)]
    epochs: Epochs
    rates: Annotated[dict[str, Rate | None], Field(min_length=1)]
    """Glob pattern of layer groups (or `head`) to peak learning rate; null = frozen. Every group must be covered."""


class Explicit(Strategy):
    """Phases exactly as given, in order."""

    kind: Literal["phases"]
    start: Literal["head", "random"]
    """`head` = the head stage's model, `random` = fresh weights."""
    phases: Annotated[tuple[Row, ...], Field(min_length=1)]

    def plan(self, groups: Sequence[str]) -> Plan:
        """The table with its patterns resolved to this backbone's groups."""
        names = [*groups, HEAD]
        phases = []
        for row in self.phases:
            rates = assign(names, list(row.rates.items()))
            if all(rate is None for rate in rates.values()):
                raise ConfigError(f"phase {row.name!r} freezes every layer group: give at least one of them a rate")
            phases.append(Phase(name=row.name, epochs=row.epochs, rates=rates))
        return Plan(strategy=self.kind, start=self.start, groups=tuple(groups), phases=tuple(phases))
