"""The contract of a task: its head, its loss, and how scores become probabilities."""

from typing import ClassVar, Literal

from torch import Tensor, nn

from tlpipe.config import Spec


class Task(Spec):
    """What is learnt from features (B, D)."""

    modality: ClassVar[Literal["image", "text"]]
    views: ClassVar[bool] = True
    """Whether a sample can be seen in other ways than as it is: augmented, mixed with others, or with noise."""

    def head(self, feature_dim: int, outputs: int, dropout: float) -> nn.Sequential:
        """Features (B, feature_dim) -> logits (B, outputs)."""
        raise NotImplementedError

    def loss(self, logits: Tensor, target: Tensor, smoothing: float, weights: Tensor | None) -> Tensor:
        """Mean loss (scalar) of logits (B, C) against class probabilities (B, C)."""
        raise NotImplementedError
