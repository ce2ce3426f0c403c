import subprocess
import sys
from pathlib import Path

import pytest

from tlpipe.bundle import Bundle, BundleError, Case, Figure, Port, digest, figures, read_bundle, verify, write_bundle
from tlpipe.config import ConfigError
from tlpipe.preprocess.image import ImagePreprocess

CASE = Case(
    name="packed", batch=8, samples=10, finite=True, probabilities=1e-6, logits=1e-6, tolerance=1e-4,
    logits_tolerance=1e-4, same=0.9, ties=0.1, agreement=1.0,
)  # fmt: skip


@pytest.fixture
def bundle(tmp_path: Path):
    (tmp_path / "model.onnx").write_bytes(b"a graph")
    return Bundle(
        task="image_classification",
        labels=("ant", "bee"),
        inputs=(Port(name="image", dtype="uint8", shape=("batch", "height", "width", 3), layout="NHWC"),),
        outputs=(Port(name="probabilities", dtype="float32", shape=("batch", 2), layout="NC"),),
        preprocessing=ImagePreprocess(),
        temperature=1.5,
        strategy="all_layers",
        metrics={"test": {"accuracy": Figure(value=0.9, low=0.8, high=0.95), "auroc": Figure(value=None)}},
        parity=(CASE,),
        versions={"opset": "20"},
        sha256={"model.onnx": digest(tmp_path / "model.onnx")},
    )


def test_what_is_written_is_what_is_read(tmp_path: Path, bundle: Bundle):
    write_bundle(tmp_path, bundle)
    assert read_bundle(tmp_path) == bundle


def test_a_changed_file_is_noticed(tmp_path: Path, bundle: Bundle):
    write_bundle(tmp_path, bundle)
    (tmp_path / "model.onnx").write_bytes(b"a grap?")
    with pytest.raises(BundleError, match=r"model\.onnx is not the file that was exported: its sha256 is"):
        read_bundle(tmp_path)


def test_a_missing_file_is_noticed(tmp_path: Path, bundle: Bundle):
    write_bundle(tmp_path, bundle)
    (tmp_path / "model.onnx").unlink()
    with pytest.raises(BundleError, match=r"model\.onnx is missing"):
        verify(tmp_path, bundle)


def test_a_description_that_does_not_fit_is_not_written(tmp_path: Path, bundle: Bundle):
    with pytest.raises(BundleError):
        write_bundle(tmp_path, bundle.model_copy(update={"sha256": {"model.onnx": "0"}}))
    assert not (tmp_path / "bundle.json").exists()


def test_other_folders_and_broken_descriptions_are_refused(tmp_path: Path, bundle: Bundle):
    with pytest.raises(BundleError, match="is not a bundle; make one with"):
        read_bundle(tmp_path)
    (tmp_path / "bundle.json").write_text("{")
    with pytest.raises(BundleError, match="is not JSON"):
        read_bundle(tmp_path)
    (tmp_path / "bundle.json").write_text('{"task": "x"}')
    with pytest.raises(ConfigError, match="labels"):
        read_bundle(tmp_path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, None),
        ({"probabilities": 2e-4}, "probabilities differ by 0.0002, allowed 0.0001"),
        ({"logits": 2e-4}, "logits differ by 0.0002 relative"),
        ({"logits": 2e-4, "logits_tolerance": None}, None),
        ({"ties": 0.0}, "agrees on 90.00%, required 100.00%"),
        ({"ties": 0.0, "agreement": 0.9}, None),
        ({"probabilities": None, "finite": False}, "not finite"),
    ],
)
def test_what_keeps_a_case_from_passing(change: dict[str, object], words: str | None):
    problems = CASE.model_copy(update=change).problems()
    assert len(problems) == (words is not None)
    assert words is None or words in problems[0]


def test_shares_that_add_up_in_floats_pass():
    """0.7 + 0.3 may be a little less than 1 in floating point; every sample agreed or was tied."""
    for count in range(1, 200):
        for same in range(count + 1):
            case = CASE.model_copy(update={"same": same / count, "ties": (count - same) / count})
            assert case.problems() == ()


def test_figures_join_metrics_and_intervals():
    joined = figures(
        {"validation": {"accuracy": 0.5}, "test": {"accuracy": 0.6, "auroc": None}},
        {"test": {"accuracy": {"value": 0.6, "low": 0.4, "high": 0.7}}},
    )
    assert joined["test"]["accuracy"] == Figure(value=0.6, low=0.4, high=0.7)
    assert joined["test"]["auroc"] == joined["test"]["auroc"].model_copy(update={"value": None})
    assert joined["validation"]["accuracy"] == Figure(value=0.5)


def test_reading_a_bundle_needs_no_torch():
    code = "import sys; sys.modules['torch'] = None; import tlpipe.bundle"
    subprocess.run([sys.executable, "-c", code], check=True)
