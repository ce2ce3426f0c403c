"""Samples of text classification: a text or a pair, with one class each."""

from tlpipe.data.read_texts import TextReader
from tlpipe.data.targets import row_labels

Reader = TextReader
targets = row_labels
