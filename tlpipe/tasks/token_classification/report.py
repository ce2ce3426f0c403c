"""Error section of token classification in the report."""

from functools import partial

from tlpipe.report.errors import CLASSES, Errors, class_errors

NOTE = (
    "A sample is a sentence. An entity is right when its type, its first and its last word are. F1, precision and "
    "recall are micro averages in seqeval's default mode (conlleval: an I- that continues nothing begins an entity); "
    "the strict figure is seqeval's mode=strict with scheme=IOB2. Accuracy and log loss are those of words."
)
ERRORS = Errors(CLASSES, partial(class_errors, unit="words", per="type of entity"), NOTE)
