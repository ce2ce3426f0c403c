"""A strategy's trainings: folds, what is chosen on what they hold out, and the model that ships."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tests.stages.test_race import Begin
from tests.train.conftest import make_packed, make_training
from tlpipe.stages import crossfit
from tlpipe.stages.crossfit import CrossFit, Trained
from tlpipe.stages.training import Run, Setting
from tlpipe.strategies.unfreeze import AllLayers
from tlpipe.tasks.image_classification.spec import ImageClassification
from tlpipe.train.hardware.device import Runtime
from tlpipe.train.heads.head import Head
from tlpipe.train.trainer.crossfit import PART, labels_of
from tlpipe.train.trainer.resume import Keeper
from tlpipe.train.trainer.weight_averaging import average

STRATEGY = AllLayers(kind="all_layers", lr=1e-2, gamma=0.9, stages=1, epochs=3)
Fit = Callable[..., CrossFit]


class AboutLike(SimpleNamespace):
    """As much of the head stage's model.json as a training reads."""

    def model_copy(self, update: dict[str, Any]) -> SimpleNamespace:
        return SimpleNamespace(**{**vars(self), **update})


@pytest.fixture
def fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fit:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Keeper, "due", lambda *_: True)
    monkeypatch.setattr(crossfit, "Starts", lambda *_: Begin(STRATEGY))
    runtime, head = (
        Runtime(device="cpu", precision="fp32", threads=1),
        Head(penalties=(0.1,), balance="none", iterations=9),
    )
    backbone = SimpleNamespace(skeleton=lambda: SimpleNamespace(batch_norms=True))
    about: Any = AboutLike(task=ImageClassification(), backbone=backbone, plan=Begin(STRATEGY).plan)

    def make(folds: int = 3, **changes: Any) -> CrossFit:
        packed = make_packed(tmp_path / f"packed {folds}", folds)
        training = make_training(monitor="accuracy", retries=0, **changes)
        setting = Setting("x", packed, about, training, runtime, head, runtime.resolve(), ())
        return CrossFit(setting, STRATEGY, training.seed)

    return make


def trained(fit: CrossFit) -> Trained:
    return fit.run(lambda epoch: None)


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(value, second[name]) for name, value in first.items())


def ends(fit: CrossFit) -> list[dict[str, torch.Tensor]]:
    """The weights that the training of each fold ends with, trained anew."""
    runs = [Run(fit.setting, STRATEGY, fit.starts, fit.seed, PART, part) for part in range(len(fit.packed.parts))]
    for run in runs:
        run.keeper.drop()
        run.train()
    return [run.trainer.trained() for run in runs]


def test_what_ships_is_trained_on_all_labels_and_judged_out_of_fold(fit: Fit):
    one = fit()
    found = trained(one)
    assert found.held_out.shape == (42, 3)
    for part in one.packed.parts:
        alone = one.part(part.rows("validation")[0] // 14)
        alone.keeper.drop()
        alone.train()
        rows = slice(*part.validated)
        assert torch.allclose(found.held_out[rows], alone.trainer.scores()[0], atol=1e-6)
    accuracy = (found.held_out.argmax(1) == labels_of(one.packed)).double().mean()
    assert found.about.validation["accuracy"] == pytest.approx(float(accuracy))
    assert (found.about.folds, found.about.refit, len(found.epochs)) == (3, True, 3)
    assert len(found.final.trainer.rows) == 42
    assert same(found.final.trainer.trained(), found.weights)


@pytest.mark.parametrize("final", ["refit", "average"])
@pytest.mark.parametrize("after", [2, 5, 9, 12])
def test_killed_anywhere_the_same_bits_ship(fit: Fit, monkeypatch: pytest.MonkeyPatch, final: str, after: int):
    straight = trained(fit(final=final))
    for path in Path(".tlpipe/work").rglob("state.pt"):
        path.unlink()
    real, saved = Keeper.save, list[int]()

    def dying(self: Keeper, state: dict[str, Any]) -> None:
        real(self, state)
        saved.append(1)
        if len(saved) == after:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Keeper, "save", dying)
        with pytest.raises(KeyboardInterrupt):
            trained(fit(final=final))
    resumed = trained(fit(final=final))
    assert same(straight.weights, resumed.weights)
    assert torch.equal(straight.held_out, resumed.held_out)


def test_the_mean_of_the_folds_weights_ships_where_it_is_as_good_as_they_are(
    fit: Fit, capsys: pytest.CaptureFixture[str]
):
    one = fit(final="average")
    found = trained(one)
    assert "it ships" in capsys.readouterr().out
    expected = average(ends(one))
    assert all(torch.allclose(value, expected[name]) for name, value in found.weights.items())
    assert found.about.ending.describe() == ["mean of the weights of the models of 3 folds"]


def test_a_mean_that_left_the_basin_does_not_ship(
    fit: Fit, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    refit = trained(fit())
    monkeypatch.setattr(crossfit, "average", lambda members: {name: -value for name, value in average(members).items()})
    found = trained(fit(final="average"))
    assert "does not ship" in capsys.readouterr().out
    assert found.about.ending.averaged == 0
    assert len(found.final.trainer.rows) == len(refit.final.trainer.rows) == 42


def test_a_single_split_that_stays_unseen_chooses_the_epoch(fit: Fit):
    found = trained(fit(folds=0))
    assert found.held_out.shape == (12, 3)
    assert (found.about.folds, found.about.refit) == (0, False)
    assert len(found.final.trainer.rows) == 30
