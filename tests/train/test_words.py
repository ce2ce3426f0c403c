"""Tagged words in training: the loss is the mean over words however a batch is cut, and frozen layers stay frozen."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from seqeval.metrics import f1_score
from torch.nn import functional

from tests.tagged import BACKBONE, TASK, pack_tagged
from tlpipe.data.packed import Packed
from tlpipe.data.targets import IGNORED
from tlpipe.strategies.unfreeze import AllLayers
from tlpipe.train.cache.embed import Features, embed
from tlpipe.train.hardware.device import Machine
from tlpipe.train.heads.head import Head
from tlpipe.train.heads.linear import cross_fit, features_of, install
from tlpipe.train.inputs.batches import Batches
from tlpipe.train.model import Classifier
from tlpipe.train.spec import STILL, Training
from tlpipe.train.trainer.loop import Trainer

HEAD = Head(penalties=(0.1, 0.01), balance="none", iterations=200)


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Packed:
    return pack_tagged(tmp_path_factory.mktemp("words"))


def make_model(outputs: int = 5) -> Classifier:
    torch.manual_seed(0)
    encoder = BACKBONE.encoder()
    return Classifier(encoder, TASK.head(encoder.feature_dim, outputs, 0.0)).eval()


def test_the_loss_of_a_batch_is_the_mean_over_its_words_in_however_many_pieces(packed: Packed) -> None:
    x, labels = torch.from_numpy(packed.samples[:6]), torch.from_numpy(packed.targets.batch(list(range(6))))
    model = make_model()
    with torch.no_grad():
        logits = model(x)
    known = labels != IGNORED
    expected = functional.cross_entropy(logits[known], labels[known], label_smoothing=0.1)
    assert TASK.loss(logits, labels, 0.1, None) == pytest.approx(float(expected))
    parts = [(each, labels[at]) for at, each in enumerate(logits)]
    summed = sum(TASK.loss(one[None], target[None], 0.1, None) * TASK.count(target) for one, target in parts)
    assert float(summed / known.sum()) == pytest.approx(float(expected), abs=1e-6)


def test_features_are_those_of_words_first_tokens_at_every_depth(
    packed: Packed, machine: Machine, tmp_path: Path
) -> None:
    encoder = make_model().encoder
    list(embed(encoder, packed, machine, tmp_path, 4))
    features = Features.open(tmp_path)
    assert features.groups == encoder.groups
    values, labels = features_of(packed, features, "validation", features.groups[-1:])
    low, high = packed.ranges["validation"]
    rows = range(low, high)
    with torch.no_grad():
        expected = [
            states[0, torch.from_numpy(packed.targets.batch([row])[0] != IGNORED)]
            for row in rows
            for states in [encoder(torch.from_numpy(packed.samples[[row]]))]
        ]
    assert torch.allclose(values, torch.cat(expected), atol=1e-5)
    assert len(labels) == len(values) == sum(packed.targets.count([row]) for row in rows)


def test_the_converged_head_is_what_the_trainer_scores(
    packed: Packed, machine: Machine, tmp_path: Path, make_training: Callable[..., Training]
) -> None:
    model = make_model()
    list(embed(model.encoder, packed, machine, tmp_path / "features", 4))
    features = Features.open(tmp_path / "features")
    fitted = cross_fit(HEAD, packed, features, features.groups[-1:]).fitted
    install(model.head, fitted)
    values, labels = features_of(packed, features, "validation", features.groups[-1:])
    logits = values.double() @ fitted.weight.T + fitted.bias
    expected = TASK.scores(logits, labels, packed)
    trainer = make_trainer(model, packed, machine, tmp_path, make_training)
    found = trainer.validate()
    assert found == pytest.approx(expected, abs=1e-5)
    assert list(found) == ["loss", "entity_f1", "accuracy"]
    sentences = packed.sample_of[packed.targets.row(*packed.ranges["validation"])]
    split = np.flatnonzero(np.diff(sentences)) + 1
    tags = [
        [[packed.classes[tag] for tag in part] for part in np.split(each.numpy(), split)]
        for each in (labels, logits.argmax(1))
    ]
    assert found["entity_f1"] == pytest.approx(f1_score(*tags))
    assert found["loss"] == pytest.approx(float(functional.cross_entropy(logits, labels)), abs=1e-5)


def make_trainer(
    model: Classifier,
    packed: Packed,
    machine: Machine,
    folder: Path,
    make_training: Callable[..., Training],
    **more: int,
) -> Trainer:
    plan = AllLayers(kind="all_layers", lr=1e-2, gamma=0.5, stages=2, stage_epochs=2, epochs=4)
    cache = {"views": more.pop("views", 1), "noise": 0, "storage": "exact", "gigabytes": 1}
    training = make_training(augment=STILL, cache=cache, monitor="entity_f1", balance="weights", **more)
    plan_for = plan.plan(model.encoder.groups)
    return Trainer(model, plan_for, TASK, training, Batches(packed, machine.device), machine, folder / "cache")


def test_it_learns_and_kept_activations_change_nothing(
    packed: Packed, machine: Machine, tmp_path: Path, make_training: Callable[..., Training]
) -> None:
    results = []
    for views in (0, 1):
        trainer = make_trainer(make_model(), packed, machine, tmp_path / str(views), make_training, views=views)
        before = trainer.validate()["loss"]
        for _ in trainer.run():
            pass
        results.append(trainer.validate())
        assert results[-1]["loss"] < before
        assert bool(trainer.frozen.boundaries) is bool(views)
    assert results[0] == pytest.approx(results[1], abs=1e-4)


def test_frozen_layers_give_the_same_bits_in_training_whatever_the_batch(packed: Packed) -> None:
    encoder = make_model().encoder
    encoder.freeze(encoder.groups[:2])
    x = torch.from_numpy(packed.samples[:3])
    with torch.no_grad():
        frozen = encoder.eval().run(x, 0, 2)
        assert torch.equal(encoder.train().run(x, 0, 2), frozen)
        assert torch.allclose(encoder.run(x[:1], 0, 2)[0], frozen[0], atol=1e-6)
        encoder.eval()
        assert torch.equal(encoder.run(frozen, 2), encoder(x))


def test_no_class_weight_is_infinite_where_a_tag_never_occurs(packed: Packed) -> None:
    features = torch.randn(20, 4)
    labels = torch.arange(20) % 3
    fitted = HEAD.model_copy(update={"balance": "weights"}).fit((features, labels), (features, labels), 5)
    assert torch.isfinite(fitted.weight).all()
