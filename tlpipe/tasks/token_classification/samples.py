"""Samples of token classification: sentences of words, with a tag each."""

from tlpipe.data.read_words import WordReader
from tlpipe.data.targets import token_labels

Reader = WordReader
targets = token_labels
