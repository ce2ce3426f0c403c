"""A Plan of Phases: which layer groups train, at which learning rate, for how long. Pure data, no torch.

`None` as a learning rate means frozen. Every group appears in every phase exactly once.
"""

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Annotated, Literal

from pydantic import Field, model_validator

from tlpipe.config import ConfigError, Spec, suggest

HEAD = "head"
Adapt = Literal["all", "norms", "lora"]
"""What of a trainable layer group moves: everything, the affine parameters of its norm layers, or low-rank adapters of
its weight matrices. The head always trains whole."""


class Lora(Spec):
    """Low-rank adapters W = W0 + alpha / rank * B A, merged at every step (Hu et al. 2021, arXiv 2106.09685)."""

    rank: Annotated[int, Field(ge=1, le=1024)]
    """Of A and B; matrices that have no more rows or columns than this stay as they are."""
    alpha: Annotated[float, Field(gt=0, le=10_000)]
    """Scale of the update, over `rank`."""


class L2SP(Spec):
    """A penalty alpha / 2 * ||w - w_start||^2 on the backbone and beta / 2 * ||w||^2 on the head's matrices.

    It takes the place of weight decay. Source: Li, Grandvalet & Davoine 2018, arXiv 1802.01483.
    """

    alpha: Annotated[float, Field(gt=0, le=10)]
    """Pull of the backbone's trainable tensors towards the weights that the training started from."""
    beta: Annotated[float, Field(ge=0, le=10)]
    """Pull of the head's weight matrices towards zero."""


class Phase(Spec):
    """One stretch of training with a fixed set of trainable groups."""

    name: str
    epochs: int
    """At most this many passes over the training split; early stopping may end the phase before."""
    rates: dict[str, float | None]
    """Peak learning rate of each group, from the input to the head; None = frozen."""
    adapt: Adapt = "all"
    """What moves in the trainable groups of the backbone."""

    def adapt_of(self, group: str) -> Adapt | None:
        """What moves in one group; None = nothing."""
        if self.rates[group] is None:
            return None
        return "all" if group == HEAD else self.adapt

    @property
    def ratio(self) -> float:
        """rho: the rate of the lowest group that trains over the rate of the highest."""
        rates = [rate for rate in self.rates.values() if rate is not None]
        return rates[0] / rates[-1]

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
    start: Literal["head", "random", "texts"]
    """`head` = the head stage's model, `random` = a fresh initialisation, `texts` = no network at all."""
    groups: tuple[str, ...]
    """The backbone's layer groups from the input to the top, without the head."""
    phases: tuple[Phase, ...]
    features: Literal["last", "all"] = "last"
    """What the head sees: the backbone's output, or the pooled features of every depth side by side."""
    lora: Lora | None = None
    l2_sp: L2SP | None = None
    wise_ft: bool = False
    """End with the best interpolation between the weights at the start and the trained ones."""
    soup: int = 0
    """End with a greedy average of the weights after the last so many epochs; 0 = off."""

    @model_validator(mode="after")
    def _consistent(self) -> "Plan":
        adapters = any(phase.adapt == "lora" for phase in self.phases)
        if adapters != (self.lora is not None) or (adapters and len(self.phases) > 1):
            raise ValueError("a plan with low-rank adapters has exactly one phase, and says their rank and alpha")
        if self.start == "random" and (self.wise_ft or self.l2_sp):
            raise ValueError("wise_ft and l2_sp refer to the weights at the start: random ones mean nothing")
        return self

    @property
    def untouched(self) -> int:
        """How many groups from the input on train in no phase."""
        trained = set(self.ever_trained)
        return next((index for index, group in enumerate(self.groups) if group in trained), len(self.groups))

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
