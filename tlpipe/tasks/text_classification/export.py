"""Export of text classification: tokens, or n-grams, to class probabilities."""

from tlpipe.tasks.shared import text_export

graph = text_export.graph
inputs = text_export.inputs
limits = text_export.limits
compare = text_export.compare
held_out = text_export.held_out
golden_samples = text_export.golden_samples
