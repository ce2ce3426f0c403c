"""Serving of text classification: texts or pairs in, class labels with probabilities out."""

from pathlib import Path
from typing import ClassVar

from tlpipe.bundle import Bundle
from tlpipe.serve.reading import Reading
from tlpipe.tasks.shared.label_serving import Labels
from tlpipe.tasks.shared.text_serving import Ngrammed, Texts

SUMMARY = "Labels with probabilities for texts"


class TextLabels(Texts, Labels):
    """A text, or a pair of texts, in; class labels with probabilities out."""

    summary: ClassVar[str] = SUMMARY

    def __init__(self, bundle: Bundle, folder: Path, max_pixels: int | None = None) -> None:
        Texts.__init__(self, bundle, folder, max_pixels)
        Labels.__init__(self, bundle)


class NgramLabels(Ngrammed, Labels):
    """The same of a TF-IDF model."""

    summary: ClassVar[str] = SUMMARY

    def __init__(self, bundle: Bundle, folder: Path, max_pixels: int | None = None) -> None:
        Ngrammed.__init__(self, bundle, folder, max_pixels)
        Labels.__init__(self, bundle)


READINGS: dict[str, type[Reading]] = {"text": TextLabels, "ngrams": NgramLabels}
