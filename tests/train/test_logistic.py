"""The Newton method: its gradient at the end, by autograd, and what it does when it may not finish."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from tlpipe.train.heads.logistic_regression import minimise


def skewed(samples: int, features: int, classes: int) -> tuple[Tensor, Tensor]:
    """Correlated features whose variances lie six orders of magnitude apart."""
    torch.manual_seed(0)
    labels = torch.randint(classes, (samples,))
    centres = torch.randn(classes, features, dtype=torch.float64)
    inputs = centres[labels] + 2 * torch.randn(samples, features, dtype=torch.float64)
    mixed = torch.randn(features, features, dtype=torch.float64)
    return inputs * torch.logspace(0, -3, features, dtype=torch.float64) @ mixed, labels


def loss(at: tuple[Tensor, Tensor], data: tuple[Tensor, Tensor], weights: Tensor | None, penalty: float) -> Tensor:
    (weight, bias), (inputs, labels) = at, data
    mean = functional.cross_entropy(inputs @ weight.T + bias, labels, weight=weights)
    return mean + penalty / 2 * weight.square().sum()


@pytest.mark.parametrize("penalty", [1.0, 0.01, 1e-4])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_gradient_is_gone(penalty: float, weighted: bool) -> None:
    data = skewed(120, 30, 4)
    weights = torch.tensor([1.0, 5.0, 0.2, 1.0], dtype=torch.float64) if weighted else None
    start = (torch.zeros(4, 30, dtype=torch.float64), torch.zeros(4, dtype=torch.float64))
    found = minimise(*data, weights, penalty, start, 1000)
    at = tuple(each.requires_grad_() for each in found)
    gradient = torch.autograd.grad(loss((at[0], at[1]), data, weights, penalty), at)
    assert max(float(each.abs().max()) for each in gradient) < 1e-7


def test_more_iterations_are_never_worse() -> None:
    data = skewed(200, 40, 3)
    start = (torch.zeros(3, 40, dtype=torch.float64), torch.zeros(3, dtype=torch.float64))
    losses = [float(loss(minimise(*data, None, 0.001, start, few), data, None, 0.001)) for few in (1, 3, 10, 30, 100)]
    assert losses == sorted(losses, reverse=True)
    assert losses[0] < float(loss(start, data, None, 0.001))


def test_from_its_own_end_it_does_not_move() -> None:
    data = skewed(100, 10, 3)
    start = (torch.zeros(3, 10, dtype=torch.float64), torch.zeros(3, dtype=torch.float64))
    found = minimise(*data, None, 0.1, start, 500)
    assert all(torch.equal(*pair) for pair in zip(found, minimise(*data, None, 0.1, found, 500), strict=True))
