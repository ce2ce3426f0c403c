"""Variants: what is measured decides what is kept."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from typer.testing import CliRunner

from tlpipe.bundle import Figure, read_bundle
from tlpipe.cli import app
from tlpipe.serve.load import load
from tlpipe.serve.quantize import fp16, int8
from tlpipe.serve.session import Runtime, Session
from tlpipe.serve.variants import Gate, make_variants, problems

CPU = Runtime(device="cpu", threads=1)


@pytest.fixture(scope="module")
def data(bundle: Path, tmp_path_factory: pytest.TempPathFactory, graph: Any) -> Path:
    """Packed images; the labels are what the bundle itself says, so that its accuracy is 1."""
    folder = tmp_path_factory.mktemp("packed")
    about = read_bundle(bundle)
    generator = np.random.default_rng(0)
    edge = about.preprocessing.resize_to
    coarse = generator.integers(0, 256, (80, 5, 5, 3), dtype=np.uint8)
    images = coarse.repeat(8, axis=1).repeat(8, axis=2)[:, :edge, :edge]
    np.save(folder / "images.npy", images)
    np.save(folder / "labels.npy", graph(images).argmax(axis=1))
    content = {
        "classes": about.labels, "ranges": {"train": [0, 32], "validation": [32, 80], "test": [80, 80]},
        "preprocess": about.preprocessing.model_dump(mode="json"), "fingerprint": "f",
    }  # fmt: skip
    (folder / "dataset.json").write_text(json.dumps(content))
    (folder / "manifest.csv").write_text("id\n" + "".join(f"{number}\n" for number in range(80)))
    return folder


def test_int8_computes_nearly_the_same_with_int8_weights(
    bundle: Path, data: Path, graph: Any, capsys: pytest.CaptureFixture[str]
):
    images = np.load(data / "images.npy")
    made = int8((bundle / "model.onnx").read_bytes(), "image", images[:16], "percentile")
    assert capsys.readouterr().out == ""
    model = onnx.load_from_string(made)
    kinds = {tensor.data_type for tensor in model.graph.initializer if len(tensor.dims) == 4}
    assert kinds == {onnx.TensorProto.INT8}
    assert {each.key for each in model.metadata_props} == {"labels", "task", "tlpipe_version"}
    found = Session(made, CPU).run({"image": images[32:]})["probabilities"]
    assert 0 < np.abs(found - graph(images[32:])).max() < 0.25


def test_fp16_computes_nearly_the_same_with_fp16_weights(bundle: Path, data: Path, graph: Any):
    images = np.load(data / "images.npy")
    made = fp16((bundle / "model.onnx").read_bytes())
    kinds = {each.data_type for each in onnx.load_from_string(made).graph.initializer if len(each.dims) == 4}
    assert kinds == {onnx.TensorProto.FLOAT16}
    found = Session(made, CPU).run({"image": images})["probabilities"]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, graph(images), atol=0.01)


def test_what_passes_is_a_bundle_that_serves(bundle: Path, data: Path, tmp_path: Path):
    gate = Gate(loss=1, faster=1, calibration=16, rounds=3).model_copy(update={"faster": 0.0})
    findings = {each.variant: each for each in make_variants(bundle, data, tmp_path, CPU, gate)}
    assert set(findings) == {"fp16", "int8"}
    for name, finding in findings.items():
        assert finding.problems == ()
        assert finding.samples == 48
        assert finding.bytes < finding.of_bytes
        loaded = load(tmp_path / name, CPU)
        assert loaded.bundle.versions["variant"] == name
        accuracy = loaded.bundle.metrics["validation"]["accuracy"].value
        assert accuracy == pytest.approx(1 - finding.loss.value) == pytest.approx(finding.agreement)
    assert set(findings["int8"].chosen_by) == {"minmax", "percentile", "entropy"}


def test_what_fails_is_not_kept_and_the_report_says_why(bundle: Path, data: Path, tmp_path: Path):
    (tmp_path / "int8").mkdir()
    gate = Gate(faster=1000, calibration=4, rounds=3)
    for finding in make_variants(bundle, data, tmp_path, CPU, gate):
        assert any("times the bundle's speed here, required 1000" in each for each in finding.problems)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("loss", "speed", "finite", "sentence"),
    [
        (Figure(value=0.0, low=-0.01, high=0.03), 2.0, True, "may lose 0.0300"),
        (Figure(value=0.0, low=None, high=None), 2.0, True, "may lose unknown"),
        (Figure(value=0.0, low=0.0, high=0.0), 1.05, True, "1.05 times"),
        (Figure(value=0.0, low=0.0, high=0.0), 2.0, False, "not finite"),
    ],
)
def test_each_reason_has_a_sentence(loss: Figure, speed: float, finite: bool, sentence: str):
    (found,) = problems("accuracy", loss, {"8": speed}, finite, Gate())
    assert sentence in found


def test_a_good_variant_has_no_problem():
    assert not list(problems("accuracy", Figure(value=0.01, low=0.0, high=0.02), {"1": 1.1, "8": 3.0}, True, Gate()))


def test_the_command_writes_its_report(bundle: Path, data: Path, other: Path, tmp_path: Path):
    report = tmp_path / "variants.json"
    options = ["--out", tmp_path / "made", "--report", report, "--device", "cpu", "--faster", 1000, "--calibration", 4]
    result = CliRunner().invoke(app, [str(each) for each in ("variants", bundle, data, *options)])
    assert result.exit_code == 0, result.output
    findings = json.loads(report.read_text())
    assert [each["variant"] for each in findings] == ["fp16", "int8"]
    assert "int8: not kept" in result.stdout
    result = CliRunner().invoke(app, [str(each) for each in ("variants", other, data, *options)])
    assert result.exit_code == 2
    assert "holds other classes" in result.stderr
    result = CliRunner().invoke(app, [str(each) for each in ("variants", bundle, tmp_path / "nowhere", *options)])
    assert result.exit_code == 2
    assert "nowhere has no dataset.json; give the folder that the prepare stage writes" in result.stderr
