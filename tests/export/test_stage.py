"""The stage, and the bundle in the hands of someone who has onnxruntime and Pillow only."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

from tlpipe.bundle import read_bundle
from tlpipe.export import write
from tlpipe.export.parity import HeldOut, Reference
from tlpipe.stages import export as stage
from tlpipe.stages.runner import run
from tlpipe.train.model import About, Classifier, save_model

EXAMPLE = Path(__file__).parents[2] / "examples/predict.py"
PARAMS = """\
data:
  source: {kind: image_folder, path: raw}
  checks: {max_pixels: 1000000}
export: {samples: 6, batch: 3}
tracking: {enabled: false}
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: Classifier, about: About, images: HeldOut) -> Path:
    """What the stages before leave, for ten images: all stored turned, with the EXIF tag for it; eight are test."""
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text(PARAMS)
    names = [f"ant/{row}.png" for row in range(10)]
    for name, image in zip(names, images.raw, strict=True):
        Path("raw", name).parent.mkdir(parents=True, exist_ok=True)
        save_turned(Path("raw", name), image)
    packed = Path("data/packed")
    packed.mkdir(parents=True)
    np.save(packed / "images.npy", images.packed)
    np.save(packed / "labels.npy", np.zeros(10, np.int64))
    ranges = {"train": [0, 1], "validation": [1, 2], "test": [2, 10]}
    preprocess = about.preprocess.model_dump(mode="json")
    dataset = {
        "classes": about.labels,
        "task": about.task.kind,
        "ranges": ranges,
        "preprocess": preprocess,
        "fingerprint": "f",
    }
    (packed / "dataset.json").write_text(json.dumps(dataset))
    with (packed / "manifest.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["row", "id"], *enumerate(names)])
    save_model(Path("models/champion"), model, about)
    evaluation = Path("models/champion")
    (evaluation / "metrics.json").write_text('{"validation": {"accuracy": 0.9}, "test": {"accuracy": 0.8}}')
    (evaluation / "intervals.json").write_text('{"test": {"accuracy": {"value": 0.8, "low": 0.7, "high": 0.9}}}')
    return tmp_path


def save_turned(path: Path, image: np.ndarray) -> None:
    """`image` stored on its side, with the EXIF tag that puts it upright."""
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.rot90(image)).save(path, exif=exif)


@pytest.fixture
def ready(project: Path, exported: onnx.ModelProto, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The project after its export; the graph is the one that other tests have made."""
    monkeypatch.setattr(write, "onnx_model", lambda *_: exported)
    run(stage.main)
    return project


def test_the_bundle_is_complete(ready: Path, about: About):
    bundle = read_bundle(Path("models/bundle"))
    assert sorted(path.name for path in Path("models/bundle").iterdir()) == ["bundle.json", "golden.json", "model.onnx"]
    assert [path.name for path in sorted(Path("models").iterdir())] == ["bundle", "champion"]
    assert bundle.labels == about.labels
    assert bundle.strategy == "all_layers"
    assert bundle.metrics["test"]["accuracy"].low == 0.7
    assert set(bundle.versions) == {"tlpipe", "torch", "onnx", "onnxruntime", "opset"}
    report = json.loads(Path("reports/parity.json").read_text())
    assert report["passed"]
    assert {case["samples"] for case in report["cases"] if case["name"] == "raw"} == {6}
    assert report["cases"] == json.loads(Path("models/bundle/bundle.json").read_text())["parity"]


def test_the_example_needs_no_torch_and_says_what_torch_says(
    ready: Path, model: Classifier, about: About, images: HeldOut
):
    files = [f"raw/ant/{row}.png" for row in (2, 3)]
    program = "import runpy, sys; sys.modules['torch'] = None; runpy.run_path(sys.argv.pop(1), run_name='__main__')"
    # UTF-8 mode: class names are anything, and a test machine's locale may be C
    done = subprocess.run(
        [sys.executable, "-X", "utf8", "-c", program, str(EXAMPLE), "models/bundle/model.onnx", *files],
        check=True, capture_output=True, encoding="utf-8", env={**os.environ, "PYTHONPATH": ""},
    )  # fmt: skip
    truth = Reference(model, about)(images.raw[2:4]).probabilities
    lines = done.stdout.splitlines()
    assert len(lines) == 2
    for line, file, row in zip(lines, files, truth, strict=True):
        name, *words = line.split()
        assert name == file
        said = dict(zip(words[::2], map(float, words[1::2]), strict=True))
        assert said == pytest.approx(dict(zip(about.labels, row, strict=True)), abs=0.02)
        assert list(said.values()) == sorted(said.values(), reverse=True)


def test_the_example_is_short():
    assert len(EXAMPLE.read_text().splitlines()) <= 15


def refused(capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    with pytest.raises(SystemExit) as caught:
        run(stage.main)
    assert not Path("models/bundle").exists()
    return caught.value.code, capsys.readouterr().err


def test_a_failed_gate_is_said_and_takes_the_old_bundle_away(ready: Path, capsys: pytest.CaptureFixture[str]):
    Path("params.yaml").write_text(PARAMS.replace("batch: 3", "batch: 3, network_tolerance: 1.0e-12"))
    code, said = refused(capsys)
    assert code == 1
    assert "the exported model does not compute what was trained" in said
    assert not json.loads(Path("reports/parity.json").read_text())["passed"]


def test_other_data_than_the_model_s_are_refused(project: Path, capsys: pytest.CaptureFixture[str]):
    dataset = json.loads(Path("data/packed/dataset.json").read_text())
    Path("data/packed/dataset.json").write_text(json.dumps({**dataset, "classes": ["bee", "ant", "größe", "wasp"]}))
    code, said = refused(capsys)
    assert code == 2
    assert "was trained on other data" in said


def test_a_raw_file_that_is_gone_is_named(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, exported: onnx.ModelProto
):
    monkeypatch.setattr(write, "onnx_model", lambda *_: exported)
    Path("raw/ant/2.png").unlink()
    code, said = refused(capsys)
    assert code == 2
    assert "ant/2.png" in said


def test_missing_figures_are_named(project: Path, capsys: pytest.CaptureFixture[str]):
    Path("models/champion/metrics.json").unlink()
    code, said = refused(capsys)
    assert code == 2
    assert "metrics.json does not exist" in said


def test_samples_are_spread_over_the_split():
    assert stage.spread(np.arange(10, 20), 4) == [10, 13, 16, 19]
    assert stage.spread(np.arange(10, 13), 8) == [10, 11, 12]
    assert stage.spread(np.arange(10, 20), 1) == [10]
    assert stage.spread(np.arange(0), 5) == []
