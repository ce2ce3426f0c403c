"""Samples of question answering: a question with its context, labelled with the places of the answer."""

from tlpipe.data.read_questions import QuestionReader
from tlpipe.data.targets import span_labels

Reader = QuestionReader
targets = span_labels
