"""Metrics of image classification, the headline first, and what epochs can be compared by besides."""

from tlpipe import metrics

METRICS = metrics.METRICS
EPOCHS: tuple[str, ...] = ()
