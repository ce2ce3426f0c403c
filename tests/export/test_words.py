"""A tagger as a bundle: from raw text, tokenizer.json and onnxruntime give torch's entities, or there is none."""

import json
from pathlib import Path

import numpy as np
import pytest
from onnx import numpy_helper

from tests.tagged import ABOUT, LABELS, PREPROCESS, sentence, write_tokenizer
from tests.untrained import make_noisy
from tlpipe.bundle import read_bundle
from tlpipe.export import write
from tlpipe.export.onnx import onnx_model
from tlpipe.export.parity import ParityError
from tlpipe.export.spec import Export
from tlpipe.tasks.token_classification.export import HeldOutWords
from tlpipe.train.model import About, Classifier

SPEC = Export(samples=6, batch=4)


@pytest.fixture(scope="module")
def about() -> About:
    return ABOUT


@pytest.fixture(scope="module")
def model() -> Classifier:
    return make_noisy(ABOUT)


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory) -> HeldOutWords:
    tokenizer = write_tokenizer(tmp_path_factory.mktemp("tokenizer")) / "tokenizer.json"
    return HeldOutWords([[word for word, _ in sentence(seed)] for seed in (1, 2, 3, 4)], tokenizer)


def test_a_faithful_bundle_passes_as_words_as_text_and_on_awkward_texts(
    tmp_path: Path, model: Classifier, about: About, held: HeldOutWords
) -> None:
    folder = tmp_path / "bundle"
    bundle = write.export_bundle(folder, tmp_path / "parity.json", model, about, held, {}, SPEC)
    assert read_bundle(folder) == bundle
    assert sorted(path.name for path in folder.iterdir()) == [
        "bundle.json",
        "golden.json",
        "model.onnx",
        "tokenizer.json",
    ]
    assert [(port.shape, port.layout) for port in bundle.outputs] == [(("batch", "length", 5), "NLC")] * 2
    assert {(case.name, case.batch) for case in bundle.parity} == {
        (name, size) for name in ("words", "raw", "awkward") for size in (1, 4)
    }
    assert all(case.probabilities is not None and case.probabilities < 1e-5 for case in bundle.parity)
    assert all(case.same == 1 for case in bundle.parity)
    assert bundle.preprocessing == PREPROCESS


def failure(tmp_path: Path, model: Classifier, about: About, held: HeldOutWords) -> str:
    with pytest.raises(ParityError) as caught:
        write.export_bundle(tmp_path / "bundle", tmp_path / "parity.json", model, about, held, {}, SPEC)
    assert not (tmp_path / "bundle").exists()
    assert not json.loads((tmp_path / "parity.json").read_text())["passed"]
    return str(caught.value)


def test_other_weights_fail(
    tmp_path: Path, model: Classifier, about: About, held: HeldOutWords, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: object) -> object:
        made = onnx_model(model, about, SPEC.opset)
        for tensor in made.graph.initializer:
            values = numpy_helper.to_array(tensor)
            if values.shape == (len(LABELS),):
                tensor.CopyFrom(numpy_helper.from_array(values + np.arange(5, dtype=np.float32), tensor.name))
        return made

    monkeypatch.setattr(write, "onnx_model", broken)
    message = failure(tmp_path, model, about, held)
    assert "probabilities differ" in message
    assert "raw samples" in message


def test_another_tokenizer_fails(
    tmp_path: Path, model: Classifier, about: About, held: HeldOutWords, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied = write.shutil.copyfile

    def swapped(source: Path, target: Path) -> None:
        copied(source, target)
        content = json.loads(Path(target).read_text())
        vocabulary = content["model"]["vocab"]
        vocabulary["the"], vocabulary["old"] = vocabulary["old"], vocabulary["the"]
        Path(target).write_text(json.dumps(content))

    monkeypatch.setattr(write.shutil, "copyfile", swapped)
    assert "differ" in failure(tmp_path, model, about, held)


def test_nothing_to_compare_on_is_refused(tmp_path: Path, model: Classifier, about: About, held: HeldOutWords) -> None:
    with pytest.raises(ParityError, match="the test split is empty"):
        write.export_bundle(
            tmp_path / "bundle", tmp_path / "parity.json", model, about, HeldOutWords([], held.tokenizer), {}, SPEC
        )
