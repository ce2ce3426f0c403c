"""A text classifier as a bundle: from raw text, tokenizer.json and onnxruntime give what torch gives, or nothing."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from onnx import numpy_helper

from tests.backbones.test_text import CONFIGS
from tests.untrained import make_about, make_noisy
from tlpipe.backbones.bert import Bert, Size
from tlpipe.backbones.huggingface import HuggingFace
from tlpipe.bundle import read_bundle
from tlpipe.data.corpus import train_wordpiece
from tlpipe.export import write
from tlpipe.export.onnx import onnx_model
from tlpipe.export.parity import ParityError
from tlpipe.export.spec import Export
from tlpipe.export.text_parity import AWKWARD, HeldOutTexts
from tlpipe.preprocess.text import Tokenizer
from tlpipe.tasks.union import TextClassification
from tlpipe.train.heads.all_depths import AllDepths
from tlpipe.train.model import About, Classifier

SPEC = Export(samples=6, batch=4)
TEXTS = [("a fine film",), ("bad",), ("so so, but long enough to be more than the rest of the batch",), ("x y z",)]


@pytest.fixture(scope="module")
def about() -> About:
    backbone = Bert(corpus=("x",), size=Size(layers=2, width=16, heads=2, vocabulary=200), max_length=24)
    return make_about(
        task=TextClassification(), backbone=backbone, preprocess=backbone.preprocess(), labels=("neg", "pos", "größe")
    )


@pytest.fixture(scope="module")
def model(about: About) -> Classifier:
    return make_noisy(about, noise=0.1)


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> HeldOutTexts:
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    train_wordpiece([" ".join(text) for text in TEXTS] * 3, 200, True, path)
    return HeldOutTexts(TEXTS, path)


def test_a_faithful_bundle_passes_alone_in_batches_and_on_awkward_texts(
    tmp_path: Path, model: Classifier, about: About, texts: HeldOutTexts
):
    folder = tmp_path / "bundle"
    bundle = write.export_bundle(folder, tmp_path / "parity.json", model, about, texts, {}, SPEC)
    assert sorted(path.name for path in folder.iterdir()) == [
        "bundle.json",
        "golden.json",
        "model.onnx",
        "tokenizer.json",
    ]
    assert read_bundle(folder) == bundle
    assert [port.name for port in bundle.inputs] == ["input_ids", "attention_mask", "token_type_ids"]
    assert bundle.sha256.keys() == {"golden.json", "model.onnx", "tokenizer.json"}
    assert {(case.name, case.batch): case.samples for case in bundle.parity} == {
        ("raw", 1): 4, ("raw", 4): 4, ("awkward", 1): len(AWKWARD), ("awkward", 4): len(AWKWARD),
    }  # fmt: skip
    assert all(case.probabilities < 1e-5 and case.same == 1 for case in bundle.parity)
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(Exception, match="not the file that was exported"):
        read_bundle(folder)


def failure(tmp_path: Path, model: Classifier, about: About, texts: HeldOutTexts) -> str:
    with pytest.raises(ParityError) as caught:
        write.export_bundle(tmp_path / "bundle", tmp_path / "parity.json", model, about, texts, {}, SPEC)
    assert not (tmp_path / "bundle").exists()
    assert not json.loads((tmp_path / "parity.json").read_text())["passed"]
    return str(caught.value)


def test_one_wrong_weight_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: Classifier, about: About, texts: HeldOutTexts
):
    corrupt = onnx_model(model, about, 20)
    (head,) = [each for each in corrupt.graph.initializer if each.name.endswith("head.1.bias")]
    head.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(head) + np.float32([0, 0.01, 0]), head.name))
    monkeypatch.setattr(write, "onnx_model", lambda *_: corrupt)
    assert "raw samples, 1 a call: logits differ" in failure(tmp_path, model, about, texts)


def test_another_tokenizer_in_the_bundle_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: Classifier, about: About, texts: HeldOutTexts
):
    other = tmp_path / "other.json"
    train_wordpiece(["entirely other words are here"] * 3, 200, True, other)
    swapped = HeldOutTexts(texts.raw, texts.tokenizer)
    swapped.__dict__["files"] = {"tokenizer.json": other}
    assert "probabilities differ" in failure(tmp_path, model, about, swapped)


def test_the_graph_takes_any_batch_and_length_and_says_its_labels(model: Classifier, about: About):
    exported = onnx_model(model, about, 20)
    assert {value.name for value in exported.graph.input} == set(about.preprocess.inputs)
    for value in exported.graph.input:
        assert [axis.dim_param for axis in value.type.tensor_type.shape.dim] == ["batch", "length"]
    props = {each.key: each.value for each in exported.metadata_props}
    assert json.loads(props["labels"]) == list(about.labels)
    assert onnx_model(model, about, 20).SerializeToString(deterministic=True) == exported.SerializeToString(
        deterministic=True
    )


def test_without_texts_there_is_no_bundle(tmp_path: Path, model: Classifier, about: About, texts: HeldOutTexts):
    with pytest.raises(ParityError, match="test split is empty"):
        write.export_bundle(
            tmp_path / "bundle", tmp_path / "parity.json", model, about, HeldOutTexts([], texts.tokenizer), {}, SPEC
        )


def test_a_head_on_every_depth_is_exported_too(tmp_path: Path, about: About, texts: HeldOutTexts):
    torch.manual_seed(0)
    encoder = AllDepths(about.backbone.encoder(), about.preprocess.example()).eval()
    x = torch.from_numpy(Tokenizer(texts.tokenizer, about.preprocess)(TEXTS)["input_ids"])
    x = torch.stack([x, (x != 0).long(), torch.zeros_like(x)], 1)
    with torch.no_grad():
        assert torch.equal(encoder(x), torch.cat([features for _, features in encoder.inner.depths(x)], 1))
    assert encoder.widths == (32, 32, 32, 16)
    model = Classifier(encoder, about.task.head(encoder.feature_dim, 3, 0.1)).eval()
    bundle = write.export_bundle(tmp_path / "bundle", tmp_path / "parity.json", model, about, texts, {}, SPEC)
    assert all(case.probabilities < 1e-5 for case in bundle.parity)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in CONFIGS if name != "bert"])
def test_every_family_passes_the_gate(tmp_path: Path, name: str, about: About, texts: HeldOutTexts):
    backbone = HuggingFace(
        kind="huggingface", name="x", config={**CONFIGS[name], "vocab_size": 200}, max_length=24,
        pooling="pooler" if name == "roberta" else "cls",
    )  # fmt: skip
    torch.manual_seed(0)
    encoder = backbone.encoder()
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    model = Classifier(encoder, about.task.head(encoder.feature_dim, 3, about.dropout)).eval()
    this = about.model_copy(update={"backbone": backbone, "preprocess": backbone.preprocess()})
    bundle = write.export_bundle(tmp_path / "bundle", tmp_path / "parity.json", model, this, texts, {}, SPEC)
    assert [port.name for port in bundle.inputs] == list(this.preprocess.inputs)
    assert all(case.same == 1 for case in bundle.parity)
