"""What can be served. For another task: one subclass of `Reading`, one line here."""

from pathlib import Path

from tlpipe.bundle import Bundle, BundleError
from tlpipe.config import ConfigError
from tlpipe.preprocess.ngrams import VOCABULARY
from tlpipe.preprocess.text import TOKENIZER
from tlpipe.serve.images import ImageLabels
from tlpipe.serve.questions import QuestionAnswers
from tlpipe.serve.reading import Reading
from tlpipe.serve.texts import NgramLabels, TextLabels
from tlpipe.serve.words import TextEntities

READINGS: dict[str, type[Reading]] = {
    "image_classification": ImageLabels,
    "text_classification": TextLabels,
    "token_classification": TextEntities,
    "question_answering": QuestionAnswers,
}

KINDS = {
    "image_classification": "image",
    "text_classification": "text",
    "token_classification": "words",
    "question_answering": "questions",
}
"""The kind of preprocessing that each task reads."""


def reading(bundle: Bundle, folder: Path, max_pixels: int | None = None) -> Reading:
    """How the task of the bundle in `folder` is read and answered. Raises ConfigError for one that cannot be served."""
    if bundle.task not in READINGS:
        raise ConfigError(f"the bundle's task is {bundle.task!r}; what can be served: {', '.join(READINGS)}")
    kind, ports = KINDS[bundle.task], tuple(port.name for port in bundle.inputs)
    taken = getattr(bundle.preprocessing, "inputs", ports[:1])
    ngrams = kind == "text" and bundle.preprocessing.kind == "ngrams"
    if (bundle.preprocessing.kind != kind and not ngrams) or ports != taken:
        raise BundleError(
            f"the bundle's task is {bundle.task!r}, which reads {kind!r} into {', '.join(taken)}; its preprocessing is "
            f"{bundle.preprocessing.kind!r} and its inputs are {', '.join(ports)}: export it again"
        )
    needed = VOCABULARY if ngrams else TOKENIZER
    if kind != "image" and needed not in bundle.sha256:
        raise BundleError(f"the bundle does not name {needed} among its files, so it reads no text: export it again")
    return (NgramLabels if ngrams else READINGS[bundle.task])(bundle, folder, max_pixels)
