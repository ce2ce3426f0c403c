"""Serving of image classification: images in, class labels with probabilities out."""

from pathlib import Path
from typing import ClassVar

from tlpipe.bundle import Bundle
from tlpipe.serve.reading import Reading
from tlpipe.tasks.shared.image_serving import Images
from tlpipe.tasks.shared.label_serving import Labels


class ImageLabels(Images, Labels):
    """Images in, class labels with probabilities out."""

    summary: ClassVar[str] = "Labels with probabilities for images"

    def __init__(self, bundle: Bundle, folder: Path, max_pixels: int | None = None) -> None:
        Images.__init__(self, bundle, folder, max_pixels)
        Labels.__init__(self, bundle)


READINGS: dict[str, type[Reading]] = {"image": ImageLabels}
