"""What all single-label classification shares: a linear head and cross-entropy."""

import math
from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional

from tlpipe.data.packed import Packed
from tlpipe.metrics import METRICS
from tlpipe.tasks.base import Scores, Task


class Classification(Task):
    """One label a sample, a linear head on its features."""

    metrics: ClassVar[tuple[str, ...]] = tuple(METRICS)
    monitors: ClassVar[tuple[str, ...]] = (*METRICS, "loss")

    def head(self, feature_dim: int, outputs: int, dropout: float) -> nn.Sequential:
        """Dropout and one linear layer."""
        return nn.Sequential(nn.Dropout(dropout), nn.Linear(feature_dim, outputs))

    def targets(self, labels: Tensor, outputs: int) -> Tensor:
        """Class probabilities (B, C), which can be mixed."""
        return functional.one_hot(labels, outputs).float()

    def count(self, targets: Tensor) -> int:
        """Samples."""
        return len(targets)

    def loss(self, logits: Tensor, target: Tensor, smoothing: float, weights: Tensor | None) -> Tensor:
        """Cross-entropy against soft targets (B, C), with label smoothing and optional class weights (C,)."""
        return functional.cross_entropy(logits, target, weight=weights, label_smoothing=smoothing)

    def marked(self, logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """All of them."""
        return logits, labels

    def scores(self, logits: Tensor, labels: Tensor, packed: Packed) -> Scores:
        """Cross-entropy and accuracy."""
        loss = functional.cross_entropy(logits, labels)
        return {"loss": float(loss), "accuracy": float((logits.argmax(1) == labels).double().mean())}

    def metric(self, name: str, logits: Tensor, labels: Tensor, packed: Packed) -> float | None:
        """Of the probabilities of all samples."""
        value = METRICS[name](labels.numpy(), self.probabilities(logits).numpy())
        return value if math.isfinite(value) else None

    def probabilities(self, logits: Tensor) -> Tensor:
        """Softmax over the classes."""
        return logits.softmax(-1)
