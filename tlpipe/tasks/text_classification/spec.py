"""One label a text, or a pair of texts."""

from typing import ClassVar, Literal

from tlpipe.tasks.shared.classification_spec import Classification


class TextClassification(Classification):
    """Single-label text classification: first token -> pooler -> dropout -> linear, as in BERT (arXiv 1810.04805).

    The pooler is the top group of the encoder; `backbone.pooling` puts another summary of the tokens in its place.
    """

    modality: ClassVar[Literal["image", "text"]] = "text"
    form: ClassVar[str] = "text"
    ngrams: ClassVar[bool] = True
    views: ClassVar[bool] = False
    kind: Literal["text_classification"] = "text_classification"
