"""Facts of metrics: title, direction and centre of every metric of every task, by its name."""

from collections.abc import Mapping
from functools import cache
from typing import Any, Literal

from tlpipe.metrics import Metric
from tlpipe.sums import SumMetric
from tlpipe.tasks import facet, kinds


@cache
def facts() -> Mapping[str, Metric | SumMetric]:
    """The facts of all metrics; a name has the same ones in all tasks."""
    return {name: fact for kind in reversed(kinds()) for name, fact in facet(kind, "metrics:METRICS").items()}


@cache
def epoch_figures() -> tuple[str, ...]:
    """The figures besides metrics and the loss that some task has after each epoch."""
    return tuple(dict.fromkeys(name for kind in kinds() for name in facet(kind, "metrics:EPOCHS")))


MetricName: Any = Literal[tuple(facts())]
MonitorName: Any = Literal[tuple(dict.fromkeys(("auto", "loss", *facts(), *epoch_figures())))]
"""Types of `compare.metric` and `training.monitor`: every name that some task has."""
