"""Probabilities of a real (tiny) model, and the stage that writes its evaluation."""

import json
import shutil
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from tlpipe.config import ConfigError
from tlpipe.data.packed import Packed
from tlpipe.evaluate.predict import predict
from tlpipe.evaluate.predictions import Predictions
from tlpipe.stages import evaluate
from tlpipe.train.hardware.batch_fitting import Halved
from tlpipe.train.hardware.device import Runtime
from tlpipe.train.model import load_model, save_held_out

FILES = {
    "metrics.json", "intervals.json", "predictions.csv", "per_class.csv", "confusion.csv", "reliability.csv",
    "confusion.png", "reliability.png", "mistakes.png", "seeds/spread.json", "seeds/1.csv",
}  # fmt: skip
CPU = Runtime(device="cpu", precision="fp32", threads=1)


def test_probabilities_are_the_calibrated_softmax_in_row_order(made: Path):
    model, about = load_model(made / "models/finetuned/all_layers")
    packed = Packed.open(made / "data/packed")
    found = np.concatenate(list(predict(model, about, packed, "validation", 7, CPU.resolve())))
    view = about.preprocess.normalise(about.preprocess.crop(packed.samples[packed.rows("validation")]))
    with torch.no_grad():
        expected = (model(torch.from_numpy(view)) / 1.5).softmax(1).numpy()
    assert found.shape == (60, 3)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert found.std() > 0


def test_a_batch_that_does_not_fit_is_halved(made: Path, monkeypatch: pytest.MonkeyPatch):
    model, about = load_model(made / "models/finetuned/all_layers")
    packed, forward = Packed.open(made / "data/packed"), model.forward
    expected = list(predict(model, about, packed, "validation", 8, CPU.resolve()))

    def small(x: torch.Tensor) -> torch.Tensor:
        if len(x) > 3:
            raise torch.OutOfMemoryError("no room")
        return forward(x)

    monkeypatch.setattr(model, "forward", small)
    with pytest.warns(Halved):
        found = list(predict(model, about, packed, "validation", 8, CPU.resolve()))
    assert [len(each) for each in found] == [len(each) for each in expected]
    np.testing.assert_allclose(np.concatenate(found), np.concatenate(expected), atol=1e-6)


def test_another_dataset_is_refused(made: Path):
    model, about = load_model(made / "models/finetuned/all_layers")
    packed = Packed.open(made / "data/packed")
    other = about.model_copy(update={"labels": ("zero", "one", "two")})
    with pytest.raises(ConfigError, match=r"only the model: \['two'\]"):
        next(predict(model, other, packed, "test", 8, CPU.resolve()))
    other = about.model_copy(update={"preprocess": about.preprocess.model_copy(update={"resize_to": 40})})
    with pytest.raises(ConfigError, match="trained on other arrays"):
        next(predict(model, other, packed, "test", 8, CPU.resolve()))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_stage_writes_every_file_the_same_way_twice(
    made: Path, tmp_path: Path, maker: ModuleType, capsys: pytest.CaptureFixture[str]
):
    for name in ("data", "models"):
        shutil.copytree(made / name, tmp_path / name)
    (tmp_path / "params.yaml").write_text(maker.PARAMS)
    folder = tmp_path / "reports/evaluation/top_layers"
    logits = torch.randn(60, 3, generator=torch.Generator().manual_seed(0))
    for trained in ("finetuned/top_layers", "seeds/top_layers/1"):
        save_held_out(tmp_path / "models" / trained, logits)
    evaluate.main("top_layers", tmp_path)
    first = contents(folder)
    assert set(first) == FILES
    evaluate.main("top_layers", tmp_path)
    assert contents(folder) == first
    said = Predictions.load(folder / "predictions.csv")
    assert (said.splits.count("validation"), said.splits.count("test")) == (60, 120)
    # what was held out is judged by the recorded logits, not by a model that has learnt from it since
    assert said.of("validation").predicted.tolist() == logits.argmax(1).tolist()
    accuracy = json.loads((folder / "metrics.json").read_text())["test"]["accuracy"]
    seeds = json.loads((folder / "seeds/spread.json").read_text())["test"]["accuracy"]
    around = json.loads((folder / "intervals.json").read_text())["test"]["accuracy"]
    assert (seeds["values"], seeds["deviation"]) == ([accuracy, accuracy], 0.0)
    assert [seeds[name] for name in ("mean", "low", "high")] == pytest.approx(list(around.values())), "twice the same"
    assert (folder / "seeds/1.csv").read_bytes() == (folder / "predictions.csv").read_bytes()
    assert f"top_layers test: accuracy {accuracy:.4f}" in capsys.readouterr().out


def test_the_stage_says_what_is_missing(tmp_path: Path, made: Path):
    shutil.copytree(made / "data", tmp_path / "data")
    shutil.copyfile(made / "params.yaml", tmp_path / "params.yaml")
    with pytest.raises(ConfigError, match="models/finetuned/nothing"):
        evaluate.main("nothing", tmp_path)
