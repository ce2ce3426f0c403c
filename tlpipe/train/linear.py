"""A linear head from kept features into a model: what the head stage and the all-depth head share."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from tlpipe.data.packed import Packed, Split
from tlpipe.train.embed import Features
from tlpipe.train.events import Epoch
from tlpipe.train.head import Fitted


def features_of(packed: Packed, features: Features, split: Split, groups: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Features (N, D) of some depths side by side, and labels (N,), of one split."""
    low, high = packed.ranges[split]
    values = np.concatenate([features.at(group)[low:high] for group in groups], axis=1)
    return torch.from_numpy(values), torch.from_numpy(packed.labels[low:high])


@torch.no_grad()
def install(head: nn.Module, fitted: Fitted) -> None:
    """Copy a fitted head into the linear layer of `head`."""
    linear = next(module for module in head.modules() if isinstance(module, nn.Linear))
    linear.weight.copy_(fitted.weight)
    linear.bias.copy_(fitted.bias)


def path_as_epochs(fitted: Fitted, samples: int, seconds: float) -> list[Epoch]:
    """The path of penalties as if they were epochs, so that it can be drawn beside the others."""
    each = seconds / len(fitted.path)
    return [
        Epoch(
            step=index, phase=f"penalty {point.penalty:g}", epoch=index, train_loss=point.train_loss,
            validation_loss=point.validation_loss, validation_accuracy=point.validation_accuracy,
            lr_min=0.0, lr_max=0.0, seconds=each, samples_per_second=samples / each,
        )
        for index, point in enumerate(fitted.path, start=1)
    ]  # fmt: skip
