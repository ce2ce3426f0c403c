"""Evaluation of image classification: class probabilities."""

from collections.abc import Mapping

from tlpipe.evaluate import predictions
from tlpipe.evaluate.baseline import Method

Predictions = predictions.Predictions
BASELINES: Mapping[str, Method] = {}
