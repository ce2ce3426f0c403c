"""What does not fit into memory is computed in halves, from where it failed on, with a message and the same results."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.train.test_activation_cache import ABOVE_STEM, LIVELY, STAGED, STILL, TOP, cache
from tlpipe.backbones.letters import Letters
from tlpipe.data.packed import Packed
from tlpipe.strategies.plan import Plan
from tlpipe.train.cache.activation_cache import VALIDATION
from tlpipe.train.cache.embed import Features, embed
from tlpipe.train.hardware.batch_fitting import Fitting, Halved
from tlpipe.train.hardware.device import Machine
from tlpipe.train.model import Classifier
from tlpipe.train.trainer.loop import Trainer

Make = Callable[..., Trainer]


def scarce(function: Callable[..., object], most: int) -> Callable[..., object]:
    """`function` of at most `most` samples."""

    def limited(x: Tensor, *rest: object) -> object:
        if len(x) > most:
            raise torch.OutOfMemoryError("no room")
        return function(x, *rest)

    return limited


def test_it_goes_on_from_what_failed_and_remembers(machine: Machine) -> None:
    fitting, seen = Fitting(machine, 8), []

    def compute(x: Tensor) -> Tensor:
        seen.append(len(x))
        if len(x) > 2 and len(seen) > 1:
            raise torch.OutOfMemoryError("no room")
        return x * 2

    with pytest.warns(Halved) as said:
        found = fitting.pieces(compute, torch.arange(19))
    assert torch.equal(torch.cat(found), torch.arange(19) * 2)
    assert "8 samples did not fit together, from now on 4" in str(said[0].message)
    assert len(said) == 2
    assert seen[:5] == [8, 8, 4, 2, 2]
    assert fitting.size == 2


def test_one_sample_that_does_not_fit_is_an_error(machine: Machine) -> None:
    with pytest.warns(Halved), pytest.raises(torch.OutOfMemoryError):
        Fitting(machine, 4).pieces(scarce(torch.neg, 0), torch.arange(4))


def test_features_come_in_smaller_batches(
    packed: Packed, machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = Letters(width=4).encoder()
    whole = list(embed(encoder, packed, machine, tmp_path / "whole", 16))
    monkeypatch.setattr(encoder, "depths", scarce(encoder.depths, 5))
    with pytest.warns(Halved):
        assert list(embed(encoder, packed, machine, tmp_path / "halved", 16)) == whole
    left, right = (Features.open(tmp_path / name) for name in ("whole", "halved"))
    for group in left.groups:
        assert np.abs(left.at(group) - right.at(group)).max() < 1e-5


def test_the_first_look_comes_in_smaller_batches(make_trainer: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = make_trainer(TOP, augment=LIVELY, cache=cache())
    boundary = trainer.frozen.of(0)
    assert boundary is not None
    images, _ = next(trainer.fresh.validation(12))
    with torch.no_grad():
        expected = trainer.model.eval().encoder.run(images, 0, boundary.cut)
    monkeypatch.setattr(trainer.model.encoder, "run", scarce(trainer.model.encoder.run, 5))
    with pytest.warns(Halved):
        assert len(list(trainer.frozen.look(boundary.cut, VALIDATION))) == 1
    stored = next(trainer.frozen.stored(boundary.cut, VALIDATION).stream([np.arange(12)]))
    assert torch.allclose(stored, expected, atol=1e-5)


@pytest.mark.parametrize("plan", [ABOVE_STEM, STAGED])
def test_storages_are_tried_in_smaller_batches(make_trainer: Make, monkeypatch: pytest.MonkeyPatch, plan: Plan) -> None:
    forward = Classifier.forward

    def small(model: Classifier, x: Tensor, start: int) -> Tensor:
        if len(x) > 5:
            raise torch.OutOfMemoryError("no room")
        return forward(model, x, start)

    whole = make_trainer(plan, augment=STILL, cache=cache(storage="auto")).frozen.boundaries
    monkeypatch.setattr(Classifier, "forward", small)
    with pytest.warns(Halved) as said:
        halved = make_trainer(plan, augment=STILL, cache=cache(storage="auto")).frozen.boundaries
    assert [str(each.message).split(": ")[1] for each in said] == [
        "12 samples did not fit together, from now on 6",
        "6 samples did not fit together, from now on 3",
    ]
    assert halved.keys() == whole.keys()
    for cut, boundary in whole.items():
        assert boundary.change > 0
        assert halved[cut].change == pytest.approx(boundary.change, rel=0.01)
        assert replace(halved[cut], change=boundary.change) == boundary


def test_validation_comes_in_smaller_batches(make_trainer: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = make_trainer(TOP, cache=cache())
    logits, labels = trainer.scores()
    monkeypatch.setattr(trainer.model, "forward", scarce(trainer.model.forward, 5))
    with pytest.warns(Halved):
        again, same = trainer.scores()
    assert torch.allclose(logits, again, atol=1e-5)
    assert torch.equal(labels, same)
