"""Golden samples: which are kept, what stands in them, and that the awkward noise catches a resize without averages."""

import io
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

from tests.untrained import make_about, make_noisy
from tlpipe.backbones.letters import Letters
from tlpipe.bundle import read_bundle
from tlpipe.export.golden import golden, keep
from tlpipe.export.onnx import onnx_model
from tlpipe.export.parity import HeldOut, Reference, compare, noisy
from tlpipe.export.spec import Export
from tlpipe.export.write import export_bundle
from tlpipe.golden import GOLDEN, read_golden
from tlpipe.preprocess.image import ImagePreprocess
from tlpipe.tasks.union import ImageClassification
from tlpipe.train.model import About, Classifier


def test_images_are_kept_as_they_pass(images: HeldOut):
    seen, kept = keep(HeldOut(iter(images.raw), images.packed), 4)
    assert not kept
    assert len(list(seen.raw)) == len(images.raw)
    assert [image is images.raw[at] for image, at in zip(kept, (0, 3, 6, 9), strict=True)] == [True] * 4
    assert keep(images, 0)[1] == []
    assert len(keep(HeldOut(images.raw[:2], images.packed[:2]), 8)[0].packed) == 2


def test_eight_raw_samples_and_noise_with_what_torch_says(
    tmp_path: Path, model: Classifier, about: About, images: HeldOut
):
    held = HeldOut(images.raw, images.packed, max_pixels=123_456)
    bundle = export_bundle(tmp_path / "bundle", tmp_path / "parity.json", model, about, held, {}, Export(samples=10))
    proof = read_golden(tmp_path / "bundle")
    assert read_bundle(tmp_path / "bundle") == bundle
    assert bundle.limits.max_pixels == 123_456
    assert GOLDEN in bundle.sha256
    assert len(proof.samples) == 9
    reference = Reference(model, about)
    for sample in proof.samples:
        pixels = np.asarray(Image.open(io.BytesIO(sample.content)))
        truth = reference([pixels])
        np.testing.assert_allclose(sample.rows[0]["probabilities"], truth.probabilities[0], atol=1e-6)
        np.testing.assert_allclose(sample.rows[0]["logits"], truth.logits[0], atol=1e-4)
    assert min(pixels.shape[:2]) > about.preprocess.resize_to  # the last one, the noise


def test_data_that_must_not_leave_stay(model: Classifier, about: About, images: HeldOut):
    assert golden(model, about, images, [], Export(golden=0)) is None


def test_noise_is_larger_than_the_edge_and_the_same_each_time(images: HeldOut):
    first, again = (list(noisy(images.raw[0], 40)) for _ in range(2))
    assert all(np.array_equal(*pair) for pair in zip(first, again, strict=True))
    assert all(min(image.shape[:2]) > 2 * 40 and np.ptp(image[..., 0] - image[..., 1].astype(int)) for image in first)


@pytest.fixture(scope="module")
def grey() -> tuple[Classifier, About, HeldOut, onnx.ModelProto]:
    """As the demo's: digits of 8 x 8 grey pixels, which are only ever enlarged."""
    from sklearn.datasets import load_digits

    about = make_about(
        task=ImageClassification(), backbone=Letters(width=4), labels=tuple("0123456789"),
        preprocess=ImagePreprocess(size=32, resize_to=32, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25)),
    )  # fmt: skip
    raw = [np.repeat(np.uint8(image * 15.9)[..., None], 3, axis=2) for image in load_digits().images[:6]]
    model = make_noisy(about, 0.01)
    graph = onnx_model(model, about, 20)
    return model, about, HeldOut(raw, np.stack([about.preprocess.pack(image) for image in raw])), graph


def changed_resize(model: onnx.ModelProto, **attributes: object) -> None:
    for node in model.graph.node:
        for attribute in node.attribute:
            if node.op_type == "Resize" and attribute.name in attributes:
                attribute.CopyFrom(onnx.helper.make_attribute(attribute.name, attributes[attribute.name]))


@pytest.mark.parametrize(
    ("sabotage", "caught"),
    [
        ({}, False),
        ({"antialias": 0, "exclude_outside": 0}, True),
        ({"mode": "nearest", "antialias": 0, "exclude_outside": 0}, True),
        ({"coordinate_transformation_mode": "align_corners"}, True),
        ({"mode": "cubic"}, True),
    ],
)
def test_a_wrong_resize_is_caught_for_small_grey_images_too(
    grey: tuple[Classifier, About, HeldOut, onnx.ModelProto], tmp_path: Path, sabotage: dict[str, object], caught: bool
):
    model, about, images, whole = grey
    graph = onnx.ModelProto()
    graph.CopyFrom(whole)
    changed_resize(graph, **sabotage)
    (tmp_path / "model.onnx").write_bytes(graph.SerializeToString())
    cases = compare(tmp_path / "model.onnx", model, about, images, Export(samples=6, batch=3))
    assert bool([problem for case in cases for problem in case.problems()]) is caught
    assert {case.name for case in cases if case.levels is not None} == {"raw", "awkward"}
