"""Title and direction of every metric of every task, by its name."""

from tlpipe.answer_metrics import ANSWER_METRICS
from tlpipe.entities import ENTITY_METRICS
from tlpipe.metrics import METRICS, Metric
from tlpipe.sums import SumMetric

FACTS: dict[str, Metric | SumMetric] = {**ANSWER_METRICS, **ENTITY_METRICS, **METRICS}
