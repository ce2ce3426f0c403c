"""Advice on image classification."""

from tlpipe.tasks.shared import classification_advice

SCORE = classification_advice.SCORE
MARKS = classification_advice.MARKS
