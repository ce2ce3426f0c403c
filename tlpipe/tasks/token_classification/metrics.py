"""Metrics of token classification, the headline first, and what epochs can be compared by besides."""

from tlpipe.entities import ENTITY_METRICS

METRICS = ENTITY_METRICS
EPOCHS: tuple[str, ...] = ("accuracy",)
