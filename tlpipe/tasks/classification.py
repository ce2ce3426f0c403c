"""What all single-label classification shares: a linear head and cross-entropy."""

from torch import Tensor, nn
from torch.nn import functional

from tlpipe.tasks.base import Task


class Classification(Task):
    """One label a sample, a linear head on its features."""

    def head(self, feature_dim: int, outputs: int, dropout: float) -> nn.Sequential:
        """Dropout and one linear layer."""
        return nn.Sequential(nn.Dropout(dropout), nn.Linear(feature_dim, outputs))

    def loss(self, logits: Tensor, target: Tensor, smoothing: float, weights: Tensor | None) -> Tensor:
        """Cross-entropy against soft targets (B, C), with label smoothing and optional class weights (C,)."""
        return functional.cross_entropy(logits, target, weight=weights, label_smoothing=smoothing)
