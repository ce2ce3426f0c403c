"""Error section of text classification in the report."""

from functools import partial

from tlpipe.report.errors import CLASSES, Errors, class_errors

ERRORS = Errors(CLASSES, partial(class_errors, unit="samples", per="class"))
