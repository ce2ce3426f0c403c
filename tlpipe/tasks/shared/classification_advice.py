"""Advice on single-label classification: the accuracy of whole samples."""

import numpy as np

from tlpipe.advise.marks import Kind, of_samples
from tlpipe.advise.scores import ACCURACY

SCORE = ACCURACY
MARKS = Kind(
    sample=lambda _, count: np.arange(count),
    strata=lambda labels, _: labels,
    marks=lambda packed, labels, _: of_samples(labels, len(packed.classes)),
)
