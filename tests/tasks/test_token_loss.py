"""The loss of words: the mean over those that have a tag, found without asking the device how many they are."""

from typing import Any

import pytest
import torch
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from tlpipe.data.targets import IGNORED
from tlpipe.tasks.token_classification.spec import TokenClassification

TASK = TokenClassification(kind="token_classification")
LOGITS = torch.randn(3, 7, 4, generator=torch.Generator().manual_seed(0))
TAGS = torch.full((3, 9), IGNORED)
TAGS[0, 1:4] = torch.tensor([0, 3, 1])
TAGS[2, 2] = 2


class Asked(TorchDispatchMode):
    """The names of the operations that were run."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.add(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weights", [None, torch.tensor([1.0, 2.0, 0.5, 3.0])])
def test_it_is_the_mean_over_the_words(smoothing: float, weights: torch.Tensor | None) -> None:
    outputs, tags = TASK.marked(LOGITS, TAGS)
    total = functional.cross_entropy(outputs, tags, weight=weights, label_smoothing=smoothing, reduction="sum")
    assert torch.allclose(TASK.loss(LOGITS, TAGS, smoothing, weights), total / 4)


def test_without_words_it_is_zero() -> None:
    assert float(TASK.loss(LOGITS, torch.full((3, 7), IGNORED), 0.1, None)) == 0


def test_nothing_waits_for_the_device() -> None:
    with Asked() as asked:
        TASK.loss(LOGITS, TAGS, 0.1, None)
    assert not asked.names & {"nonzero", "index", "masked_select", "_local_scalar_dense"}
    assert asked.names
