"""Variants: what is measured decides what is kept."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from typer.testing import CliRunner

from tlpipe.bundle import read_bundle
from tlpipe.cli import app
from tlpipe.evaluate.paired import Loss, disagreement, loss_of
from tlpipe.evaluate.predictions import Predictions
from tlpipe.intervals import Interval, lost_at_most, pairs_needed
from tlpipe.serve.runtime.load import load
from tlpipe.serve.runtime.session import Runtime, Session
from tlpipe.serve.variants import search as variants
from tlpipe.serve.variants.gate import Failure, Gate, problems
from tlpipe.serve.variants.quantize import Samples, fp16, int8
from tlpipe.serve.variants.search import make_variants

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
        "classes": about.labels, "task": about.task,
        "ranges": {"train": [0, 30], "validation": [30, 80], "test": [80, 80]},
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
    gate = Gate(loss=1, faster=1, calibration=15, rounds=3).model_copy(update={"faster": 0.0})
    findings = {each.variant: each for each in make_variants(bundle, data, tmp_path, CPU, gate)}
    assert set(findings) == {"fp16", "int8"}
    for name, finding in findings.items():
        assert finding.problems == ()
        assert (finding.split, finding.samples) == ("validation", 50)
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


def loss(high: float, worse: int = 0, samples: int = 100, needed: int | None = 160) -> Loss:
    return Loss(Interval(worse / samples, 0.0, high), samples, worse, 0, needed)


@pytest.mark.parametrize(
    ("loss", "speed", "finite", "sentence"),
    [
        (loss(0.03), 2.0, True, "may lose 0.0300 of accuracy (upper 95 % bound: 0 of 100 samples worse, 0 better)"),
        (loss(0.03), 2.0, True, "about 160 samples like these would be needed"),
        (loss(0.09, 5, needed=None), 2.0, True, "more samples would not help"),
        (loss(0.0), 1.05, True, "1.05 times"),
        (loss(0.0), 2.0, False, "not finite"),
    ],
)
def test_each_reason_has_a_sentence(loss: Loss, speed: float, finite: bool, sentence: str):
    (found,) = problems("accuracy", loss, {"8": speed}, finite, Gate())
    assert sentence in found


def test_a_good_variant_has_no_problem():
    assert not list(problems("accuracy", loss(0.02), {"1": 1.1, "8": 3.0}, True, Gate()))


@pytest.mark.parametrize("count", [2, 7, 15, 64, 75, 128])
def test_calibration_is_in_calls_of_one_size_that_hold_every_image(count: int):
    reader, sizes = Samples("image", np.arange(count)), []
    while (feed := reader.get_next()) is not None:
        sizes.append(len(feed["image"]))
    assert (sum(sizes), len(set(sizes))) == (count, 1)
    assert sizes[0] <= 8


def test_one_variant_that_fails_does_not_take_the_others_along(
    bundle: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def fail(_: Any) -> None:
        raise RuntimeError("the quantizer gave up")

    monkeypatch.setitem(variants.OF_IMAGES, "int8", fail)
    report = tmp_path / "variants.json"
    options = ["--out", tmp_path / "made", "--report", report, "--device", "cpu", "--faster", 1000]
    result = CliRunner().invoke(app, [str(each) for each in ("variants", bundle, data, *options)])
    assert result.exit_code == 0, result.output
    fp16_found, int8_found = json.loads(report.read_text())
    assert fp16_found["agreement"] > 0.9
    assert int8_found == {
        "variant": "int8", "problems": ["it could not be made: RuntimeError: the quantizer gave up"],
    }  # fmt: skip


@pytest.mark.parametrize(
    "changes",
    [
        {"ranges": {"train": [0, 30], "validation": [30, 30], "test": [30, 80]}},
        {"ranges": {"train": [0, 20], "validation": [20, 30], "test": [30, 80]}, "refit": True},
    ],
    ids=["cross-fitted", "refitted"],
)
def test_where_the_model_learnt_from_all_labels_the_test_split_judges_by_agreement_alone(
    bundle: Path, data: Path, tmp_path: Path, changes: dict[str, Any]
):
    folder = shutil.copytree(data, tmp_path / "packed")
    content = json.loads((folder / "dataset.json").read_text())
    (folder / "dataset.json").write_text(json.dumps(content | changes))
    np.save(folder / "labels.npy", np.zeros(80, np.int64))  # what is right must not matter
    gate = Gate(loss=1, calibration=10, rounds=3).model_copy(update={"faster": 0.0})
    for finding in make_variants(bundle, folder, tmp_path / "made", CPU, gate):
        assert not isinstance(finding, Failure)
        assert (finding.split, finding.metric, finding.better) == ("test", "agreement", 0)
        assert finding.loss.value == pytest.approx(1 - finding.agreement)
        assert "50 test samples, agreement lost" in finding.summary()
        figures = load(tmp_path / "made" / finding.variant, CPU).bundle.metrics
        assert set(figures) == {"test"}
        assert figures["test"]["agreement"].value == pytest.approx(finding.agreement)


@pytest.mark.parametrize("size", [8, 20, 50, 150, 300, 1000])
def test_a_variant_that_loses_five_points_passes_in_at_most_5_of_100_draws(size: int):
    generator = np.random.default_rng(0)
    for worse, better in ((0.05, 0.0), (0.08, 0.03), (0.15, 0.10)):
        draws = generator.multinomial(size, [worse, better, 1 - worse - better], 2000)
        pairs, times = np.unique(draws[:, :2], axis=0, return_counts=True)
        bounds = np.array([lost_at_most(float(lost), float(won), size)[1] for lost, won in pairs])
        assert times[bounds <= 0.05 - 1e-9].sum() <= 0.05 * 2000 + 3 * (0.05 * 0.95 * 2000) ** 0.5
        assert times[bounds <= 0.02].sum() <= 0.05 * 2000


def test_the_bound_and_the_number_that_is_needed_agree():
    assert lost_at_most(0, 0, 100)[1] == pytest.approx(1 - 0.04 ** (1 / 100))
    needed = pairs_needed(0, 0, 75, 0.02)
    assert needed == 160
    assert lost_at_most(0, 0, 160)[1] <= 0.02 < lost_at_most(0, 0, 159)[1]
    assert pairs_needed(3, 0, 100, 0.02) is None
    assert pairs_needed(1, 0, 100, 0.02) > 500


def said(right: np.ndarray, groups: tuple[str, ...] = ()) -> Predictions:
    size, shares = len(right), np.where(right[:, None], [0.9, 0.1], [0.1, 0.9])
    return Predictions(
        ("a", "b"), np.arange(size), ("",) * size, ("validation",) * size, np.zeros(size, int), shares, groups=groups
    )


def test_samples_in_groups_prove_less():
    size, names = 400, tuple(str(index // 20) for index in range(400))
    alone, grouped = (
        loss_of(said(np.ones(size, bool), each), said(np.ones(size, bool), each), "accuracy", 0.02, 0)
        for each in ((), names)
    )
    assert alone.interval.high <= 0.02 < grouped.interval.high
    assert alone.needed == 160
    assert grouped.needed > size


def test_disagreement_counts_every_other_prediction():
    first, second = said(np.arange(50) < 40), said(np.arange(50) >= 10)
    found = disagreement(first, second, 0.02, 0)
    assert (found.interval.value, found.worse, found.better, found.needed) == (20 / 50, 20, 0, None)
    assert loss_of(first, second, "accuracy", 0.02, 0).worse == 10


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
