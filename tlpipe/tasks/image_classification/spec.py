"""One label an image."""

from typing import ClassVar, Literal

from tlpipe.tasks.shared.classification_spec import Classification


class ImageClassification(Classification):
    """Single-label image classification with a linear head on pooled features."""

    modality: ClassVar[Literal["image", "text"]] = "image"
    form: ClassVar[str] = "image"
    kind: Literal["image_classification"] = "image_classification"
