"""The contract of a task: how samples are read, its head, its loss, and how its outputs are judged while training."""

from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from tlpipe.config import Spec
from tlpipe.data.packed import Packed

Scores = dict[str, float]
"""Figures of a validation split: the loss, and what is cheap to have beside it, the headline first of these."""


class Blind(NamedTuple):
    """What there is to choose for an answer that is the same for every sample."""

    classes: NDArray[np.int64]
    """(K,) the right one of each choice."""
    nats: float
    """Mean loss of choosing within the class, without looking."""
    accuracy: float
    """Of the best such answer."""


class Task(Spec):
    """What is learnt from features (B, D), or from those of the tokens (B, L, D).

    Every *mark* has a target and an output: see `tlpipe.data.targets`. What else a task owns is in the files beside its
    spec: see `tlpipe.tasks.FACETS`.
    """

    kind: str
    modality: ClassVar[Literal["image", "text"]]
    form: ClassVar[str]
    """What its samples are, as `Source.form` says it: image, text, words or questions."""
    ngrams: ClassVar[bool] = False
    """Whether the TF-IDF strategy, which reads raw texts, can learn it."""
    max_length: ClassVar[int] = 128
    """Tokens of a row that a text network reads where nothing else is given."""
    tokens: ClassVar[bool] = False
    """Whether it reads the features of every token instead of those of the whole sample."""
    views: ClassVar[bool] = True
    """Whether a sample can be seen in other ways than as it is: augmented, mixed with others, or with noise."""
    balances: ClassVar[tuple[str, ...]] = ("none", "weights", "sampling")
    """What `training.balance` may be."""
    monitors: ClassVar[tuple[str, ...]] = ("loss",)
    """What `training.monitor` may be, the headline first: all of `metrics`, and what `scores` has."""
    metrics: ClassVar[tuple[str, ...]] = ()
    """What `compare.metric` may be, the headline first."""
    tempered: ClassVar[frozenset[str]] = frozenset({"log_loss", "brier", "ece", "auroc"})
    """Those of `metrics` that change with the temperature."""
    outputs: ClassVar[tuple[str, ...]] = ("logits", "probabilities")
    """What the exported graph gives, the logits first: divided by the temperature, in the shape of the head's."""

    def preprocess(self, given: Any) -> Any:
        """The preprocessing of the task's samples, for that of the backbone."""
        return given

    def head(self, feature_dim: int, outputs: int, dropout: float) -> nn.Sequential:
        """Features (…, feature_dim) -> logits (…, outputs)."""
        raise NotImplementedError

    def targets(self, labels: Tensor, outputs: int) -> Tensor:
        """What the loss takes, of what `Targets.batch` gave."""
        raise NotImplementedError

    def count(self, targets: Tensor) -> Tensor | int:
        """Marks that `loss` is the mean over."""
        raise NotImplementedError

    def loss(self, logits: Tensor, target: Tensor, smoothing: float, weights: Tensor | None) -> Tensor:
        """Mean loss (scalar) of a batch's logits."""
        raise NotImplementedError

    def marked(self, logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """The outputs (m, C) and labels (m,) of a batch's marks, in order."""
        raise NotImplementedError

    def likelihood(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Sum of the negative log-likelihoods (nats) of a split's marks; the temperature is fitted on it."""
        return functional.cross_entropy(logits, labels, reduction="sum")

    def fitted(self, logits: Tensor, labels: Tensor, packed: Packed) -> dict[str, float]:
        """What else is fitted on the validation split, and travels with the model.

        Given as to `scores`, but for the logits: they are divided by the temperature.
        """
        return {}

    def scores(self, logits: Tensor, labels: Tensor, packed: Packed) -> Scores:
        """Figures of the validation split: outputs (M, C) in double precision and labels (M,) of its marks, in order.

        `loss` is the mean cross-entropy in nats; `monitors` has the others.
        """
        raise NotImplementedError

    def metric(self, name: str, logits: Tensor, labels: Tensor, packed: Packed) -> float | None:
        """One of `metrics` on the validation split, as the evaluation has it; None where it does not apply.

        Given as to `scores`, but for those that are `tempered`: their logits are divided by the temperature.
        """
        raise NotImplementedError

    def blind(self, labels: NDArray[np.int64]) -> Blind:
        """Of the marks (M,) of a split: always the same of their labels."""
        return Blind(labels, 0.0, float(np.bincount(labels).max() / len(labels)))

    def probabilities(self, logits: Tensor) -> Tensor:
        """Probabilities in the shape of the logits."""
        raise NotImplementedError

    def said(self, logits: Tensor) -> Tensor:
        """What the evaluation judges, of logits divided by the temperature: their probabilities."""
        return self.probabilities(logits)
