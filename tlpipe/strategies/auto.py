"""The advice, as a strategy: which of the others it is, the advise stage decides."""

from collections.abc import Sequence
from typing import ClassVar, Literal

from tlpipe.config import ConfigError
from tlpipe.strategies.base import Strategy
from tlpipe.strategies.plan import Plan
from tlpipe.strategies.scale import Scale


class Advised(Strategy):
    """Trains what the advice recommends among the other entries of `finetune`."""

    settled: ClassVar[bool] = False

    kind: Literal["auto"]
    race: bool
    """Whether tied strategies race: each trains for a few epochs, the best on validation trains to its end, and all of
    it costs less than 1.3 trainings. Without it, the recommended strategy trains."""

    def plan(self, groups: Sequence[str], scale: Scale | None = None) -> Plan:
        """Raises ConfigError: there is no plan before there is advice."""
        raise ConfigError("the plan of kind: auto is that of the strategy that the advise stage chooses; run it first")
