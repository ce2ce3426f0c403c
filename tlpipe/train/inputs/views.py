"""Views of packed rows: what a network takes of images or of tokens."""

from typing import Protocol

import torch
from torch import Tensor

from tlpipe.preprocess import AnyPreprocess
from tlpipe.preprocess.image import ImagePreprocess
from tlpipe.train.inputs.augmentation import Views
from tlpipe.train.spec import Augment


class AnyViews(Protocol):
    """Packed rows, on the device, to a network's inputs."""

    def evaluation(self, packed: Tensor) -> Tensor:
        """What `preprocess.evaluation` gives for the same rows."""

    def training(self, packed: Tensor, augment: Augment, draws: Tensor) -> Tensor:
        """Random views by their `draws` (B, DRAWS)."""


class TextViews:
    """Tokens (B, C, L) are seen as they are, in training too."""

    def evaluation(self, packed: Tensor) -> Tensor:
        """The tokens."""
        return packed

    def training(self, packed: Tensor, augment: Augment, draws: Tensor) -> Tensor:
        """The tokens: nothing of `augment` is for texts."""
        return packed


def views_of(preprocess: AnyPreprocess, device: torch.device) -> AnyViews:
    """The views of what `preprocess` made."""
    return Views(preprocess, device) if isinstance(preprocess, ImagePreprocess) else TextViews()
