"""Metrics of question answering, the headline first, and what epochs can be compared by besides."""

from tlpipe.answer_metrics import ANSWER_METRICS

METRICS = ANSWER_METRICS
EPOCHS: tuple[str, ...] = ("accuracy", "place_accuracy")
