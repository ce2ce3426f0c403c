"""Features of every depth side by side: the numbers of `embed`, and a model that is saved and loaded like any other."""

from pathlib import Path

import pytest
import torch

from tlpipe.backbones.base import pool
from tlpipe.backbones.letters import Letters
from tlpipe.config import ConfigError
from tlpipe.strategies.all_depth_head import AllDepthHead
from tlpipe.tasks.union import ImageClassification
from tlpipe.train.heads.all_depths import AllDepths
from tlpipe.train.model import About, Classifier, load_model, save_model
from tlpipe.train.trainer.trainable import sizes

LETTERS = Letters(width=4)


def encoder() -> AllDepths:
    torch.manual_seed(0)
    return AllDepths(LETTERS.encoder().eval(), LETTERS.preprocess().example())


def test_it_gives_the_pooled_features_of_every_depth() -> None:
    deep, x = encoder().eval(), torch.randn(3, 3, 32, 32)
    expected = torch.cat([features for _, features in deep.inner.depths(x)], 1)
    assert torch.equal(deep(x), expected)
    assert deep.widths == (4, 4, 8, 16, 32)
    assert (deep.feature_dim, deep.cuts) == (64, (0, 5))
    assert torch.equal(deep(x)[:, -32:], pool(deep.inner(x)))


def test_it_cannot_be_cut_inside() -> None:
    deep, x = encoder(), torch.randn(1, 3, 32, 32)
    assert deep.run(x, 5) is x
    with pytest.raises(ConfigError, match="every depth"):
        deep.run(x, 1)


def test_its_groups_are_the_inner_ones_and_freeze() -> None:
    deep = encoder()
    for group in deep.groups:
        names = [name for name, _ in deep.parameters_of(group)]
        assert names == [f"inner.{name}" for name, _ in deep.inner.parameters_of(group)]
    deep.freeze(deep.groups).train()
    assert not any(parameter.requires_grad for parameter in deep.parameters())
    assert not deep.inner.stages["stem"][1].training  # type: ignore[union-attr,index]


def test_a_model_folder_remembers_that_its_head_reads_every_depth(tmp_path: Path) -> None:
    deep, task = encoder(), ImageClassification()
    plan = AllDepthHead(kind="all_depth_head").plan(deep.groups)
    model = Classifier(deep, task.head(deep.feature_dim, 3, 0.0)).eval()
    about = About(
        strategy="deep", run_key="0", task=task, backbone=LETTERS, preprocess=LETTERS.preprocess(),
        labels=("a", "b", "c"),
        dropout=0.0, temperature=1.0, validation={}, plan=plan, total_parameters=1, trainable_parameters=1,
    )  # fmt: skip
    save_model(tmp_path, model, about)
    loaded, found = load_model(tmp_path)
    x = torch.randn(2, 3, 32, 32)
    assert torch.equal(loaded(x), model(x))
    assert found == about
    assert sizes(loaded, plan)["head"].total == 65 * 3
