"""A worked forward pass: a classification head on one BERT feature."""

import pytest
import torch
from torch.nn import functional

from tlpipe.tasks.image_classification.spec import ImageClassification

FEATURE = torch.tensor([[0.3, -0.1, 0.5, 0.2]])
WEIGHT = torch.tensor([[0.1, 0.2, 0.1, 0.2], [-0.1, 0.1, 0.1, 0.15]])
"""Weights that give the article's logits; it prints the feature, the logits, the probabilities and the loss."""


def test_the_article_s_logits_probabilities_and_loss() -> None:
    task = ImageClassification()
    head = task.head(4, 2, dropout=0.0).eval()
    with torch.no_grad():
        head[1].weight.copy_(WEIGHT)
        head[1].bias.copy_(torch.tensor([0.10, 0.04]) - FEATURE[0] @ WEIGHT.T)
        logits = head(FEATURE)
    assert logits[0].tolist() == pytest.approx([0.10, 0.04])
    assert logits.softmax(1)[0].tolist() == pytest.approx([0.5150, 0.4850], abs=5e-5)
    target = functional.one_hot(torch.tensor([0]), 2).float()
    assert float(task.loss(logits, target, 0.0, None)) == pytest.approx(0.664, abs=5e-4)
