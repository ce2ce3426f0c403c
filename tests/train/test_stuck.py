"""What counts as a training that learnt nothing, held against real losses of constant answers."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from tests.asked import TASK, pack_asked
from tests.train.conftest import make_training
from tlpipe.data.targets import IGNORED
from tlpipe.tasks.union import ImageClassification
from tlpipe.train.inputs.batches import class_weights
from tlpipe.train.trainer.events import Epoch
from tlpipe.train.trainer.stuck import another_seed, constant_loss, stuck

TRAIN = np.array([0] * 60 + [1] * 30 + [2] * 10)
VALIDATION = np.array([0] * 30 + [1] * 15 + [2] * 5)
BLIND = tuple(map(ImageClassification().blind, (TRAIN, VALIDATION)))


def epoch(loss: float, accuracy: float) -> Epoch:
    return Epoch(100, "all", 4, loss, {"loss": 1.0, "accuracy": accuracy}, 1e-5, 1e-3, 1.0, 100.0)


@settings(deadline=None)
@given(
    st.lists(st.integers(0, 3), max_size=60),
    st.sampled_from(["none", "weights"]),
    st.sampled_from([0.0, 0.1]),
)
def test_no_constant_answer_has_a_lower_loss(drawn: list[int], balance: str, smoothing: float):
    labels = np.array([0, 1, 2, 3, *drawn])
    training = make_training(balance=balance, label_smoothing=smoothing)
    weights = torch.from_numpy(class_weights(labels, 4)) if balance == "weights" else None
    logits = torch.zeros(4, requires_grad=True)
    target = functional.one_hot(torch.from_numpy(labels), 4).float()
    optimizer = torch.optim.LBFGS([logits], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        answer = logits.expand(len(labels), 4)
        value = functional.cross_entropy(answer, target, weight=weights, label_smoothing=smoothing)
        value.backward()
        return value

    optimizer.step(loss)
    assert float(loss().detach()) == pytest.approx(constant_loss(labels, 4, training), rel=1e-4)


def test_sampling_shows_every_class_alike():
    assert constant_loss(TRAIN, 3, make_training(balance="sampling", label_smoothing=0)) == pytest.approx(math.log(3))


@pytest.mark.parametrize(
    ("share_of_constant", "accuracy", "is_stuck"),
    [(1.0, 0.6, True), (0.99, 0.1, True), (0.99, 0.7, True), (0.9, 0.6, False), (1.2, 0.9, False)],
)
def test_it_takes_both_a_constant_loss_and_an_accuracy_no_better_than_luck(
    share_of_constant: float, accuracy: float, is_stuck: bool
):
    training = make_training()
    last = epoch(share_of_constant * constant_loss(TRAIN, 3, training), accuracy)
    found = stuck(last, *BLIND, 3, training)
    assert (found is not None) is is_stuck
    if found is not None:
        assert f"{found.train_loss:.3f}" in found.record()["text"]
        assert found.majority == 0.6


def test_without_an_accuracy_nothing_is_said():
    last = Epoch(100, "all", 4, 99.0, {"loss": 99.0, "f1": 0.0}, 1e-5, 1e-3, 1.0, 100.0)
    assert stuck(last, *BLIND, 3, make_training()) is None


def test_a_constant_answer_to_questions_is_no_answer_or_any_token(tmp_path: Path):
    packed = pack_asked(tmp_path)
    low, high = packed.ranges["train"]
    rows = list(range(low, high))
    marks = packed.targets.marks[slice(*packed.targets.range(low, high))]
    labels = torch.from_numpy(packed.targets.batch(rows))
    blind = TASK.blind(marks)
    assert len(blind.classes) == 2 * len(rows)
    assert 0 < blind.accuracy < 1
    others = (labels != IGNORED).sum(1, keepdim=True).float() - 1
    logits = (torch.log(torch.tensor(1 - blind.accuracy)) - torch.log(others)).expand(labels.shape).clone()
    logits[:, 0] = math.log(blind.accuracy)
    logits = logits.unsqueeze(-1).expand(*labels.shape, 2)
    training = make_training(label_smoothing=0)
    constant = constant_loss(blind.classes, 2, training) + blind.nats
    assert float(TASK.loss(logits, labels, 0.0, None)) == pytest.approx(constant, rel=1e-5)
    right = TASK.scores(*TASK.marked(logits, labels), packed)["accuracy"] if blind.accuracy > 0.5 else blind.accuracy
    assert right == pytest.approx(blind.accuracy)
    assert stuck(epoch(0.5 * constant, 0.0), blind, blind, 2, training) is None
    assert stuck(epoch(constant, blind.accuracy), blind, blind, 2, training) is not None


def test_another_seed_is_another_and_the_first_is_the_given_one():
    seeds = [another_seed(7, attempt) for attempt in range(20)]
    assert seeds[0] == 7
    assert len(set(seeds)) == 20
    assert all(0 <= seed < 2**31 for seed in seeds)
