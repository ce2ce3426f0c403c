"""A Plan of Phases: which layer groups train, at which learning rate, for how long. Pure data, no torch.

`None` as a learning rate means frozen. Every group appears in every phase exactly once.
"""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, Literal

from tlpipe.config import ConfigError, Spec, suggest

HEAD = "head"


class Phase(Spec):
    """One stretch of training with a fixed set of trainable groups."""

    name: str
    epochs: int
    """At most this many passes over the training split; early stopping may end the phase before."""
    rates: dict[str, float | None]
    """Peak learning rate of each group, from the input to the head; None = frozen."""

    @property
    def trainable(self) -> tuple[str, ...]:
        """Names of the groups that train, from the input to the head."""
        return tuple(group for group, rate in self.rates.items() if rate is not None)

    @property
    def frozen(self) -> tuple[str, ...]:
        """Names of the groups that stay as they are."""
        return tuple(group for group, rate in self.rates.items() if rate is None)


class Plan(Spec):
    """What a strategy does to one backbone. `start` says which weights it begins with."""

    strategy: str
    start: Literal["head", "random"]
    """`head` = the head stage's model, `random` = a fresh initialisation."""
    groups: tuple[str, ...]
    """The backbone's layer groups from the input to the top, without the head."""
    phases: tuple[Phase, ...]

    @property
    def ever_trained(self) -> tuple[str, ...]:
        """Names of the groups that train in some phase, from the input to the head."""
        trained = {group for phase in self.phases for group in phase.trainable}
        return tuple(group for group in (*self.groups, HEAD) if group in trained)


def assign(groups: Sequence[str], rows: Sequence[tuple[str, float | None]]) -> dict[str, float | None]:
    """Learning rate of every group by the first matching (glob pattern, rate) row.

    Raises ConfigError when a pattern matches no group or a group is matched by no row.
    """
    for pattern, _ in rows:
        if not any(fnmatchcase(group, pattern) for group in groups):
            raise ConfigError(f"pattern {pattern!r} matches no layer group of this backbone{suggest(pattern, groups)}")
    rates: dict[str, float | None] = {}
    for group in groups:
        matched = [rate for pattern, rate in rows if fnmatchcase(group, pattern)]
        if not matched:
            raise ConfigError(
                f"layer group {group!r} is covered by no row of {[pattern for pattern, _ in rows]}; "
                "add a row for it, or a last row '*' with rate null to freeze the rest"
            )
        rates[group] = matched[0]
    return rates


def table(plan: Plan, counts: Mapping[str, int]) -> list[dict[str, Any]]:
    """One row a phase and group: phase, epochs, group, parameters, trainable, learning_rate (None = frozen)."""
    return [
        {
            "phase": phase.name,
            "epochs": phase.epochs,
            "group": group,
            "parameters": counts[group],
            "trainable": rate is not None,
            "learning_rate": rate,
        }
        for phase in plan.phases
        for group, rate in phase.rates.items()
    ]
