"""A linear head from kept features into a model: what the head stage and the all-depth head share."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from tlpipe.data.packed import SPLITS, Packed, Split
from tlpipe.preprocess.questions import END, START
from tlpipe.train.embed import Features
from tlpipe.train.events import Epoch
from tlpipe.train.head import Fitted, Head
from tlpipe.train.span_head import States, fit_spans


def features_of(packed: Packed, features: Features, split: Split, groups: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Features (M, D) of some depths side by side, and labels (M,), of one split's marks."""
    low, high = packed.targets.range(*packed.ranges[split])
    values = np.concatenate([features.at(group)[low:high] for group in groups], axis=1)
    return torch.from_numpy(values), torch.from_numpy(packed.targets.marks[low:high])


class Fit(Protocol):
    """How a linear head is fitted on the kept features of some depths; `blocks` and `tilt` as in `Head.fit`."""

    def __call__(
        self,
        spec: Head,
        packed: Packed,
        features: Features,
        groups: Sequence[str],
        blocks: Sequence[int] | None = None,
        tilt: float = 0.0,
    ) -> Fitted:
        """Fit on the train split, choose on the validation split."""


def logistic(
    spec: Head,
    packed: Packed,
    features: Features,
    groups: Sequence[str],
    blocks: Sequence[int] | None = None,
    tilt: float = 0.0,
) -> Fitted:
    """Logistic regression of the label of each mark, a sample or a word."""
    train, validation = (features_of(packed, features, split, groups) for split in SPLITS[:2])
    return spec.fit(train, validation, len(packed.classes), blocks, tilt)


def spans(
    spec: Head,
    packed: Packed,
    features: Features,
    groups: Sequence[str],
    blocks: Sequence[int] | None = None,
    tilt: float = 0.0,
) -> Fitted:
    """The choices of each row's tokens, as the first and the last of an answer."""
    train, validation = (_states(packed, features, split, groups) for split in SPLITS[:2])
    return fit_spans(spec, train, validation, blocks, tilt)


def _states(packed: Packed, features: Features, split: Split, groups: Sequence[str]) -> States:
    low, high = packed.ranges[split]
    first, last = packed.targets.range(low, high)
    labels, offsets = packed.targets.marks[first:last], packed.samples.offsets[low : high + 1] - first
    values = [features.at(group)[first:last] for group in groups]
    places = np.arange(len(labels)) - np.repeat(offsets[:-1], np.diff(offsets))
    targets = np.stack([places[(labels & bit) > 0] for bit in (START, END)], axis=1)
    return States(values[0] if len(values) == 1 else np.concatenate(values, axis=1), offsets, targets)


FITS: dict[str, Fit] = {"image": logistic, "text": logistic, "words": logistic, "questions": spans}
"""By the kind of preprocessing."""


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
            validation={"loss": point.validation_loss, "accuracy": point.validation_accuracy},
            lr_min=0.0, lr_max=0.0, seconds=each, samples_per_second=samples / each,
        )
        for index, point in enumerate(fitted.path, start=1)
    ]  # fmt: skip
