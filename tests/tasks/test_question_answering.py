import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from tlpipe.config import ConfigError
from tlpipe.data.targets import IGNORED
from tlpipe.preprocess.questions import END, FIRST, START
from tlpipe.preprocess.text import TextPreprocess
from tlpipe.tasks.question_answering.spec import QuestionAnswering, choices, rows

TASK = QuestionAnswering(stride=4, longest_question=6)
SPANS = [(5, [(2, 3)]), (8, [(0, 0)]), (3, [(1, 1)])]
"""Lengths of rows, and where the answer is."""


def batch(seed: int = 0, spare: int = 2) -> tuple[Tensor, Tensor]:
    """Logits (B, L, 2) and labels (B, L), padded."""
    generator = torch.Generator().manual_seed(seed)
    longest = max(length for length, _ in SPANS) + spare
    logits = torch.randn(len(SPANS), longest, 2, generator=generator, dtype=torch.float64)
    labels = torch.full((len(SPANS), longest), IGNORED)
    for row, (length, [(start, end)]) in zip(labels, SPANS, strict=True):
        row[:length] = 0
        row[0] |= FIRST
        row[start] |= START
        row[end] |= END
    return logits, labels


def by_hand(logits: Tensor, smoothing: float = 0.0) -> float:
    """Row by row, choice by choice, without padding."""
    losses = [
        functional.cross_entropy(each[:length, side], torch.tensor(place), label_smoothing=smoothing)
        for each, (length, [span]) in zip(logits, SPANS, strict=True)
        for side, place in enumerate(span)
    ]
    return float(torch.stack(losses).mean())


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_is_over_the_positions_of_each_row_whatever_its_padding(smoothing: float):
    for spare in (0, 5):
        logits, labels = batch(spare=spare)
        assert float(TASK.loss(logits, labels, smoothing, None)) == pytest.approx(by_hand(logits, smoothing))


def test_padding_has_no_gradient_and_nothing_is_nan():
    logits, labels = batch()
    logits.requires_grad_()
    TASK.loss(logits, labels, 0.1, None).backward()
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()
    assert (logits.grad[labels == IGNORED] == 0).all()
    assert (logits.grad[labels != IGNORED] != 0).all()


def test_pieces_of_a_batch_add_up_to_it():
    logits, labels = batch()
    parts = [(logits[part], labels[part]) for part in (slice(0, 1), slice(1, 3))]
    total = sum(float(TASK.loss(*part, 0.0, None)) * TASK.count(part[1]) for part in parts)
    assert total / TASK.count(labels) == pytest.approx(by_hand(logits))


def test_flat_tokens_become_the_same_choices():
    logits, labels = batch()
    flat, marks = TASK.marked(logits, labels)
    assert flat.shape == (sum(length for length, _ in SPANS), 2)
    scores, right = choices(*rows(flat, marks))
    padded, expected = choices(logits, labels)
    assert right.tolist() == expected.tolist() == [2, 3, 0, 0, 1, 1]
    torch.testing.assert_close(scores, padded[:, : scores.shape[1]])
    found = TASK.scores(flat, marks, None)  # type: ignore[arg-type]
    assert found["loss"] == pytest.approx(by_hand(logits))
    hits = [
        int(each[:length, side].argmax()) == place
        for each, (length, [span]) in zip(logits, SPANS, strict=True)
        for side, place in enumerate(span)
    ]
    assert found["accuracy"] == pytest.approx(np.mean(hits))
    inside = scores.clone()
    inside[:, 0] = -torch.inf
    assert found["place_accuracy"] == pytest.approx((inside.argmax(1) == right)[right > 0].double().mean())
    assert float(TASK.likelihood(flat, marks)) == pytest.approx(6 * by_hand(logits))


def test_activations_that_are_trimmed_shorter_than_the_labels_are_enough():
    logits, labels = batch(spare=0)
    longer = functional.pad(labels, (0, 3), value=IGNORED)
    assert float(TASK.loss(logits, longer, 0.0, None)) == pytest.approx(by_hand(logits))
    assert TASK.marked(logits, longer)[0].shape == TASK.marked(logits, labels)[0].shape


def test_rows_without_room_for_the_stride_are_refused_by_the_check():
    assert TASK.preprocess(TextPreprocess(max_length=14))
    with pytest.raises(ConfigError, match="cannot share 4"):
        TASK.preprocess(TextPreprocess(max_length=13))


def test_its_settings_are_those_of_the_preprocessing():
    made = TASK.preprocess(TextPreprocess(max_length=64, pad_id=3, token_types=False))
    assert (made.kind, made.max_length, made.pad_id, made.token_types) == ("questions", 64, 3, False)
    assert (made.stride, made.longest_question, made.longest_answer) == (4, 6, 30)
