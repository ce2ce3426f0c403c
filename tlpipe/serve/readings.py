"""What can be served. For another task: one subclass of `Reading`, one line here."""

from pathlib import Path

from tlpipe.bundle import Bundle
from tlpipe.config import ConfigError
from tlpipe.serve.images import ImageLabels
from tlpipe.serve.questions import QuestionAnswers
from tlpipe.serve.reading import MAX_PIXELS, Reading
from tlpipe.serve.texts import TextLabels
from tlpipe.serve.words import TextEntities

READINGS: dict[str, type[Reading]] = {
    "image_classification": ImageLabels,
    "text_classification": TextLabels,
    "token_classification": TextEntities,
    "question_answering": QuestionAnswers,
}


def reading(bundle: Bundle, folder: Path, max_pixels: int = MAX_PIXELS) -> Reading:
    """How the task of the bundle in `folder` is read and answered. Raises ConfigError for one that cannot be served."""
    if bundle.task not in READINGS:
        raise ConfigError(f"the bundle's task is {bundle.task!r}; what can be served: {', '.join(READINGS)}")
    return READINGS[bundle.task](bundle, folder, max_pixels)
