import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from tlpipe.export import write
from tlpipe.export.onnx import onnx_model
from tlpipe.export.parity import HeldOut, ParityError, Reference, agreement, awkward, compare
from tlpipe.export.spec import Export
from tlpipe.train.model import About, Classifier

SPEC = Export(samples=10, batch=4)


def change(model: onnx.ModelProto, name: str, function: Callable[[np.ndarray], np.ndarray]) -> onnx.ModelProto:
    """A copy with one initializer replaced by `function` of it."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    (found,) = [value for value in copy.graph.initializer if value.name == name]
    found.CopyFrom(numpy_helper.from_array(function(numpy_helper.to_array(found).copy()), name))
    return copy


def head_weight(model: onnx.ModelProto) -> str:
    (gemm,) = [node for node in model.graph.node if node.op_type == "Gemm"]
    return gemm.input[1]


def gate(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    model: Classifier,
    about: About,
    images: HeldOut,
    corrupt: onnx.ModelProto,
):
    """Export with `corrupt` as the file; returns the report. An older bundle lies where the new one would go."""
    folder, report = tmp_path / "models/bundle", tmp_path / "reports/parity.json"
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(b"stale")
    monkeypatch.setattr(write, "onnx_model", lambda *_: corrupt)
    with pytest.raises(ParityError) as caught:
        write.export_bundle(folder, report, model, about, images, {}, SPEC)
    assert list((tmp_path / "models").iterdir()) == []
    return str(caught.value), json.loads(report.read_text()) if report.exists() else None


def test_a_faithful_file_passes_every_case(
    tmp_path: Path, model: Classifier, about: About, images: HeldOut, exported: onnx.ModelProto
):
    path = tmp_path / "model.onnx"
    path.write_bytes(exported.SerializeToString())
    cases = {(case.name, case.batch): case for case in compare(path, model, about, images, SPEC)}
    assert set(cases) == {("raw", 1), ("raw", 4), ("packed", 1), ("packed", 4), ("awkward", 1), ("awkward", 4)}
    assert not [problem for case in cases.values() for problem in case.problems()]
    assert cases["raw", 1].samples == cases["packed", 4].samples == 10
    assert cases["packed", 4].probabilities < 1e-5
    assert cases["packed", 1].tolerance == cases["packed", 1].logits_tolerance == 1e-4


def test_the_images_are_not_trivial(model: Classifier, about: About, images: HeldOut):
    """Otherwise the tests below could pass by saturation: several classes come first, and none is certain."""
    outputs = Reference(model, about)(images.raw)
    assert len(set(outputs.probabilities.argmax(1))) > 1
    assert outputs.probabilities.max(1).mean() < 0.999


def test_perturbed_weights_fail(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    model: Classifier,
    about: About,
    images: HeldOut,
    exported: onnx.ModelProto,
):
    corrupt = change(exported, head_weight(exported), lambda weight: weight * np.float32(1.01))
    message, report = gate(tmp_path, monkeypatch, model, about, images, corrupt)
    assert "packed samples, 1 a call: logits differ" in message
    assert "parity.json" in message
    assert not report["passed"]
    assert report["problems"]
    assert {case["name"] for case in report["cases"]} == {"raw", "awkward", "packed"}


def test_another_temperature_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: Classifier, about: About, images: HeldOut
):
    corrupt = onnx_model(model, about.model_copy(update={"temperature": 1.75}), 20)
    message, _ = gate(tmp_path, monkeypatch, model, about, images, corrupt)
    assert "probabilities differ" in message


def test_labels_in_another_order_fail(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    model: Classifier,
    about: About,
    images: HeldOut,
    exported: onnx.ModelProto,
):
    corrupt = onnx.ModelProto()
    corrupt.CopyFrom(exported)
    onnx.helper.set_model_props(corrupt, {"labels": json.dumps([*about.labels[1:], about.labels[0]])})
    message, _ = gate(tmp_path, monkeypatch, model, about, images, corrupt)
    assert "the first label agrees on" in message


def test_other_labels_fail(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    model: Classifier,
    about: About,
    images: HeldOut,
    exported: onnx.ModelProto,
):
    corrupt = onnx.ModelProto()
    corrupt.CopyFrom(exported)
    onnx.helper.set_model_props(corrupt, {"labels": json.dumps(["x", *about.labels[1:]])})
    message, report = gate(tmp_path, monkeypatch, model, about, images, corrupt)
    assert "names the classes ['x'" in message
    assert report is None


@pytest.mark.parametrize("name", ["preprocess/mean", "preprocess/std", "preprocess/white"])
def test_another_normalisation_fails(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    model: Classifier,
    about: About,
    images: HeldOut,
    exported: onnx.ModelProto,
    name: str,
):
    corrupt = change(exported, name, lambda value: value + np.float32(0.01) * value)
    message, _ = gate(tmp_path, monkeypatch, model, about, images, corrupt)
    assert "packed samples" in message


def test_a_crop_one_pixel_off_fails(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    model: Classifier,
    about: About,
    images: HeldOut,
    exported: onnx.ModelProto,
):
    corrupt = change(exported, "preprocess/inner_margin", lambda margin: margin + 1)
    message, _ = gate(tmp_path, monkeypatch, model, about, images, corrupt)
    assert "packed samples" in message


def test_outputs_that_are_no_numbers_fail(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    model: Classifier,
    about: About,
    images: HeldOut,
    exported: onnx.ModelProto,
):
    corrupt = change(exported, head_weight(exported), lambda weight: weight * np.float32("nan"))
    message, report = gate(tmp_path, monkeypatch, model, about, images, corrupt)
    assert "not finite" in message
    assert report["cases"][0]["finite"] is False
    assert report["cases"][0]["probabilities"] is None


def test_no_images_prove_nothing(
    tmp_path: Path, model: Classifier, about: About, images: HeldOut, exported: onnx.ModelProto
):
    path = tmp_path / "model.onnx"
    path.write_bytes(exported.SerializeToString())
    for nothing in (HeldOut([], images.packed), HeldOut(images.raw, images.packed[:0])):
        with pytest.raises(ParityError, match="no held-out images"):
            compare(path, model, about, nothing, SPEC)


def test_one_image_is_enough(
    tmp_path: Path, model: Classifier, about: About, images: HeldOut, exported: onnx.ModelProto
):
    path = tmp_path / "model.onnx"
    path.write_bytes(exported.SerializeToString())
    cases = compare(path, model, about, HeldOut(images.raw[:1], images.packed[:1]), SPEC)
    assert {(case.name, case.batch): case.samples for case in cases}["packed", 4] == 2  # with its mirror image
    assert not [problem for case in cases for problem in case.problems()]


def test_agreement_by_hand():
    truth = np.array([[0.6, 0.4], [0.52, 0.48], [0.9, 0.1], [0.1, 0.9]], np.float32)
    found = np.array([[0.7, 0.3], [0.49, 0.51], [0.2, 0.8], [0.1, 0.9]], np.float32)
    assert agreement(truth, found, 0.05) == (0.5, 0.25)
    assert agreement(truth, found, 0.01) == (0.5, 0.0)


def test_awkward_sizes_are_extreme_and_one_is_grey(images: HeldOut):
    shapes = {image.shape[:2] for image in awkward(images.raw[0], 32)}
    assert {(1, 1), (1, 9), (9, 1), (31, 32), (65, 16), (32, 96)} <= shapes
    *_, grey = awkward(images.raw[0], 32)
    assert (grey == grey[..., :1]).all()
    assert grey.shape == images.raw[0].shape
