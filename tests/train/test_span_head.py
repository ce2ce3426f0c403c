from itertools import pairwise

import numpy as np
import pytest
import torch
from torch.nn import functional

from tlpipe.train.heads import span_head
from tlpipe.train.heads.head import Fitted, Head, Point, best_point
from tlpipe.train.heads.span_head import States, span_loss, span_path

HEAD = Head(penalties=(1.0, 0.1, 0.01, 0.001), balance="none", iterations=500)


def rows(count: int, seed: int, noise: float = 1.0, width: int = 6) -> States:
    """Rows of unequal length in which two directions tell the start and the end."""
    generator = np.random.default_rng(seed)
    lengths = generator.integers(3, 15, count)
    values = generator.normal(size=(lengths.sum(), width)) * np.linspace(0.5, 5, width) + 3
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    targets = np.empty((count, 2), np.int64)
    for row, (low, high) in enumerate(pairwise(offsets)):
        score = values[low:high, 1:3] + generator.normal(size=(high - low, 2)) * noise
        targets[row] = score.argmax(0)
    return States(values.astype(np.float32), offsets, targets)


def fit_spans(head: Head, train: States, held_out: States) -> Fitted:
    path = list(span_path(head, train))
    points = [Point(found.penalty, found.train_loss, *span_loss(found.weight, held_out)) for found in path]
    best = path[best_point(points)]
    return Fitted(best.weight, best.bias, best.penalty, tuple(points))


def loss(weight: torch.Tensor, states: States) -> torch.Tensor:
    """Mean cross-entropy, row by row."""
    total = torch.zeros((), dtype=torch.float64)
    for low, high, target in zip(states.offsets, states.offsets[1:], states.targets, strict=False):
        scores = torch.from_numpy(states.values[low:high]).double() @ weight.T
        total = total + functional.cross_entropy(scores.T, torch.from_numpy(target), reduction="sum")
    return total / (2 * len(states.targets))


def test_it_is_the_minimum_of_the_penalised_loss():
    train, held_out = rows(120, 0), rows(60, 1)
    head = HEAD.model_copy(update={"penalties": (0.01,)})
    fitted = fit_spans(head, train, held_out)
    deviation = torch.from_numpy(train.values).double().std(0, correction=0)
    weight = (fitted.weight * deviation).requires_grad_()
    (loss(weight / deviation, train) + 0.01 / 2 * weight.square().sum()).backward()
    assert weight.grad is not None
    assert weight.grad.abs().max() < 1e-6
    assert fitted.bias.tolist() == [0, 0]
    assert fitted.path[0].train_loss == pytest.approx(float(loss(fitted.weight, train)))
    assert fitted.path[0].validation_loss == pytest.approx(float(loss(fitted.weight, held_out)))


def test_validation_chooses_the_penalty():
    fitted = fit_spans(HEAD, rows(25, 0, noise=3), rows(300, 1, noise=3))
    assert [point.penalty for point in fitted.path] == sorted(HEAD.penalties, reverse=True)
    best = min(fitted.path, key=lambda point: point.validation_loss)
    assert fitted.penalty == best.penalty
    assert fitted.penalty not in (HEAD.penalties[0], HEAD.penalties[-1])


def test_it_finds_the_directions():
    fitted = fit_spans(HEAD, rows(500, 0, noise=0.2), rows(200, 1, noise=0.2))
    assert fitted.path[-1].validation_accuracy > 0.85
    assert fitted.weight.abs().argmax(1).tolist() == [1, 2]


def test_parts_change_nothing_but_the_rounding(monkeypatch: pytest.MonkeyPatch):
    train, held_out = rows(80, 0), rows(40, 1)
    whole = fit_spans(HEAD, train, held_out)
    monkeypatch.setattr(span_head, "CHUNK", 20)
    assert sum(len(part[2]) for part in train.parts()) == 80
    assert max(len(part[0]) for part in train.parts()) <= 20
    parted = fit_spans(HEAD, train, held_out)
    torch.testing.assert_close(parted.weight, whole.weight, rtol=1e-4, atol=1e-6)
    assert parted.penalty == whole.penalty
    monkeypatch.setattr(span_head, "CHUNK", 1)
    assert [len(part[2]) for part in train.parts()] == [1] * 80, "a row is never parted"


def test_a_constant_added_to_all_states_changes_nothing():
    train, held_out = rows(80, 0), rows(40, 1)
    moved = States(train.values + 7, train.offsets, train.targets)
    first, second = (fit_spans(HEAD, each, held_out).weight for each in (train, moved))
    torch.testing.assert_close(first, second, rtol=1e-3, atol=1e-4)
