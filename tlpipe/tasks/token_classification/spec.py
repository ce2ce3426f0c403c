"""A tag for each word: named entities and the like."""

from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from tlpipe.data.packed import Packed
from tlpipe.data.targets import IGNORED
from tlpipe.entities import ENTITY_METRICS, columns
from tlpipe.preprocess.windows import windows
from tlpipe.preprocess.words import WordPreprocess
from tlpipe.sums import measure_sums
from tlpipe.tasks.base import Scores, Task

SPECIAL = 2
"""Tokens that stand around a text at least."""


class TokenClassification(Task):
    """IOB2 tags of words, by a linear layer on each word's first token (BERT, arXiv 1810.04805, section 5.3)."""

    modality: ClassVar[Literal["image", "text"]] = "text"
    form: ClassVar[str] = "words"
    tokens: ClassVar[bool] = True
    views: ClassVar[bool] = False
    balances: ClassVar[tuple[str, ...]] = ("none", "weights")
    metrics: ClassVar[tuple[str, ...]] = tuple(ENTITY_METRICS)
    monitors: ClassVar[tuple[str, ...]] = (*ENTITY_METRICS, "accuracy", "loss")

    kind: Literal["token_classification"] = "token_classification"
    stride: Annotated[int, Field(ge=0, le=8192)] = 32
    """Tokens that the windows of a sentence longer than `backbone.max_length` share."""

    def preprocess(self, given: Any) -> WordPreprocess:
        """Words instead of whole texts. Raises ConfigError for a stride that no window is long enough for."""
        windows(0, given.max_length - SPECIAL, self.stride)
        return WordPreprocess(**given.model_dump(exclude={"kind"}), stride=self.stride)

    def head(self, feature_dim: int, outputs: int, dropout: float) -> nn.Sequential:
        """Dropout and one linear layer, for every token."""
        return nn.Sequential(nn.Dropout(dropout), nn.Linear(feature_dim, outputs))

    def targets(self, labels: Tensor, outputs: int) -> Tensor:
        """Tags (B, L)."""
        return labels

    def count(self, targets: Tensor) -> Tensor:
        """Words."""
        return (targets != IGNORED).sum()

    def loss(self, logits: Tensor, target: Tensor, smoothing: float, weights: Tensor | None) -> Tensor:
        """Cross-entropy of logits (B, L, C) against tags (B, L), the mean over the words."""
        length = min(logits.shape[1], target.shape[1])
        tags = target[:, :length].flatten()
        # picking the words out as `marked` does would wait for a GPU to say how many there are
        total = functional.cross_entropy(
            logits[:, :length].flatten(0, 1),
            tags,
            weight=weights,
            label_smoothing=smoothing,
            reduction="sum",
            ignore_index=IGNORED,
        )
        return total / self.count(tags).clamp_min(1)

    def marked(self, logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Those of the words' first tokens."""
        known = labels != IGNORED
        length = min(logits.shape[1], labels.shape[1])
        known = known[:, :length]
        return logits[:, :length][known], labels[:, :length][known]

    def scores(self, logits: Tensor, labels: Tensor, packed: Packed) -> Scores:
        """Cross-entropy and accuracy of words, and the F1 of entities (seqeval's default mode)."""
        measured = self._measured(logits, labels, packed)
        return {"loss": measured["log_loss"], "entity_f1": measured["entity_f1"], "accuracy": measured["word_accuracy"]}

    def metric(self, name: str, logits: Tensor, labels: Tensor, packed: Packed) -> float | None:
        """Of the entities of all sentences, or of their words."""
        return self._measured(logits, labels, packed).get(name)

    def _measured(self, logits: Tensor, labels: Tensor, packed: Packed) -> dict[str, float]:
        low, high = packed.validated
        sentences = packed.sample_of[packed.targets.row(low, high)]
        surprise = functional.cross_entropy(logits, labels, reduction="none")
        said = logits.argmax(1).numpy()
        table = columns(packed.classes, labels.numpy(), said, surprise.numpy(), np.asarray(sentences))
        return measure_sums(table, ENTITY_METRICS)

    def probabilities(self, logits: Tensor) -> Tensor:
        """Softmax over the tags of each token."""
        return logits.softmax(-1)
