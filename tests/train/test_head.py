"""The head against scikit-learn's logistic regression, and its own promises."""

import math

import numpy as np
import pytest
import torch
from sklearn.datasets import make_classification
from sklearn.linear_model import LogisticRegression
from torch import Tensor
from torch.nn import functional

from tlpipe.train.heads.head import Head
from tlpipe.train.heads.logistic_regression import minimise

HEAD = Head(penalties=(1.0, 0.1, 0.01, 0.001), balance="none", iterations=500)


def data(count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    features, labels = make_classification(
        600, n_features=12, n_informative=6, n_classes=3, class_sep=0.8, random_state=5, flip_y=0.1
    )
    rows = np.random.default_rng(seed).permutation(600)[:count]
    return torch.from_numpy(features[rows] * 7 + 100).float(), torch.from_numpy(labels[rows])


def test_it_finds_the_same_minimum_as_scikit_learn() -> None:
    features, labels = data(200)
    inputs = (features.double() - features.double().mean(0)) / features.double().std(0, correction=0)
    start = (torch.zeros(3, 12, dtype=torch.float64), torch.zeros(3, dtype=torch.float64))
    weight, bias = minimise(inputs, labels, None, 0.01, start, 500)
    reference = LogisticRegression(C=1 / (0.01 * 200), tol=1e-10, max_iter=5000).fit(inputs.numpy(), labels.numpy())
    ours = torch.softmax(inputs @ weight.T + bias, 1).numpy()
    assert np.abs(ours - reference.predict_proba(inputs.numpy())).max() < 1e-5


def test_class_weights_as_scikit_learn_counts_them() -> None:
    features, labels = data(200)
    keep = torch.cat([torch.where(labels == 0)[0][:10], torch.where(labels > 0)[0]])
    features, labels = features[keep], labels[keep]
    head = Head(penalties=(0.05,), balance="weights", iterations=500).fit((features, labels), (features, labels), 3)
    inputs = (features.double() - features.double().mean(0)) / features.double().std(0, correction=0)
    reference = LogisticRegression(C=1 / (0.05 * len(labels)), class_weight="balanced", tol=1e-10, max_iter=5000)
    expected = reference.fit(inputs.numpy(), labels.numpy()).predict_proba(inputs.numpy())
    ours = torch.softmax(features.double() @ head.weight.T + head.bias, 1).numpy()
    assert np.abs(ours - expected).max() < 1e-5


def test_the_penalty_with_the_lowest_validation_loss_wins_and_its_head_comes_back() -> None:
    train, validation = data(60), data(300, seed=1)
    fitted = HEAD.fit(train, validation, 3)
    losses = {point.penalty: point.validation_loss for point in fitted.path}
    assert fitted.penalty == min(losses, key=lambda penalty: losses[penalty])
    loss = functional.cross_entropy(validation[0].double() @ fitted.weight.T + fitted.bias, validation[1])
    assert float(loss) == pytest.approx(losses[fitted.penalty], rel=1e-9)


def test_a_constant_feature_does_no_harm() -> None:
    features, labels = data(80)
    features[:, 3] = 42.0
    fitted = HEAD.fit((features, labels), (features, labels), 3)
    assert torch.isfinite(fitted.weight).all()
    assert fitted.weight[:, 3].abs().max() < 1e-9 * fitted.weight.abs().max()


def test_it_is_deterministic() -> None:
    first, second = (HEAD.fit(data(60), data(100, seed=1), 3) for _ in range(2))
    assert torch.equal(first.weight, second.weight)


def test_more_features_than_samples_find_the_same_minimum() -> None:
    features, labels = data(100)
    wide = torch.cat([features, features.square(), features**3, torch.randn(100, 90)], 1).double()
    head = Head(penalties=(0.05,), balance="none", iterations=2000)
    fitted = head.fit((wide, labels), (wide, labels), 3)
    inputs = (wide - wide.mean(0)) / wide.std(0, correction=0).clamp_min(0.1 * float(wide.std(0, correction=0).mean()))
    start = (torch.zeros(3, 126, dtype=torch.float64), torch.zeros(3, dtype=torch.float64))
    weight, bias = minimise(inputs, labels, None, 0.05, start, 2000)
    ours = (wide @ fitted.weight.T + fitted.bias).softmax(1)
    assert (ours - (inputs @ weight.T + bias).softmax(1)).abs().max() < 1e-4


def test_blocks_side_by_side_weigh_the_same_whatever_their_width_and_scale() -> None:
    train, validation = data(60), data(100, seed=1)
    copies = [torch.cat([1000 * x[0], x[0], x[0]], 1) for x in (train, validation)]
    head = Head(penalties=(0.1,), balance="none", iterations=2000)
    fitted = head.fit((copies[0], train[1]), (copies[1], validation[1]), 3, [12, 24])
    narrow, wide = 1000 * fitted.weight[:, :12], fitted.weight[:, 12:24] + fitted.weight[:, 24:]
    # each block has the same total variance, so that the two share the work equally
    assert torch.allclose(narrow, wide, atol=1e-4)


def test_a_tilt_leaves_less_and_at_last_nothing_to_the_lower_blocks() -> None:
    train, validation = data(60), data(100, seed=1)
    copies = [torch.cat([x[0], x[0], x[0]], 1) for x in (train, validation)]
    head = Head(penalties=(0.1,), balance="none", iterations=2000)
    shares = []
    for tilt in (0.0, 1.0, math.inf):
        fitted = head.fit((copies[0], train[1]), (copies[1], validation[1]), 3, [12, 24], tilt)
        lower, upper = fitted.weight[:, :12], fitted.weight[:, 12:24] + fitted.weight[:, 24:]
        shares.append(float(lower.norm() / upper.norm()))
    # of two like blocks the weights are as the squares of what each has of its deviation: 1, then 1/4, then 0
    assert shares == pytest.approx([1.0, 0.25, 0.0], abs=1e-4)
