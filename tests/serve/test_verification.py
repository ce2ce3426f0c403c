"""A bundle that contradicts its graph, or gives other answers here than where it was trained, is not served."""

import asyncio
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from tests.bundles import make_bundle_of
from tests.serve.conftest import make_model
from tlpipe.bundle import DIGEST, BundleError, digest, metadata_digest, read_bundle
from tlpipe.config import ConfigError
from tlpipe.export.parity import HeldOut
from tlpipe.export.spec import Export
from tlpipe.export.write import export_bundle
from tlpipe.golden import Golden, read_golden
from tlpipe.serve.http.hot_swap import Model
from tlpipe.serve.http.metrics import Metrics
from tlpipe.serve.http.settings import Settings
from tlpipe.serve.runtime import verification as proof
from tlpipe.serve.runtime.load import load
from tlpipe.serve.runtime.session import Runtime

CPU = Runtime(device="cpu", threads=1)
Change = Callable[[Path, dict[str, Any]], None]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle that passed its gate, golden samples and all."""
    root = tmp_path_factory.mktemp("proof")
    model, about = make_model(0)
    generator = np.random.default_rng(0)
    raw = [np.kron(generator.integers(0, 256, (8, 9, 3), np.uint8), np.ones((6, 6, 1), np.uint8)) for _ in range(9)]
    held = HeldOut(raw, np.stack([about.preprocess.pack(image) for image in raw]))
    export_bundle(root / "bundle", root / "parity.json", model, about, held, {}, Export(tolerance=0.02))
    return root / "bundle"


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle_of("text_classification", tmp_path_factory.mktemp("texts"))


@pytest.fixture(scope="module")
def questions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle_of("question_answering", tmp_path_factory.mktemp("questions"))


def say(*path: Any, value: Any) -> Change:
    """bundle.json says `value` there."""

    def change(folder: Path, about: dict[str, Any]) -> None:
        *parents, last = path
        place: Any = about
        for each in parents:
            place = place[each]
        place[last] = value

    return change


def graph(function: Callable[[onnx.ModelProto], None]) -> Change:
    """The graph is another one, whose hash the description has."""

    def change(folder: Path, about: dict[str, Any]) -> None:
        model = onnx.load(folder / "model.onnx")
        function(model)
        onnx.save(model, folder / "model.onnx")
        about["sha256"]["model.onnx"] = digest(folder / "model.onnx")

    return change


def other_weights(model: onnx.ModelProto) -> None:
    (gemm,) = [node for node in model.graph.node if node.op_type == "Gemm"]
    (weight,) = [value for value in model.graph.initializer if value.name == gemm.input[1]]
    weight.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(weight) * np.float32(1.01), weight.name))


def no_antialias(model: onnx.ModelProto) -> None:
    for node in model.graph.node:
        for attribute in node.attribute:
            if node.op_type == "Resize" and attribute.name in ("antialias", "exclude_outside"):
                attribute.i = 0


def swapped(folder: Path, about: dict[str, Any]) -> None:
    about["labels"][:2] = about["labels"][1::-1]


CONTRADICTIONS: dict[str, tuple[Change, str]] = {
    "fewer labels": (say("labels", value=["ant", "bee"]), "there are 2 labels, and the output 'logits' has 4 values"),
    "no labels": (say("labels", value=[]), "labels"),
    "a label twice": (say("labels", value=["a", "a", "b", "c"]), "labels has 'a' twice"),
    "labels swapped": (swapped, "labels is"),
    "other names": (say("labels", value=["w", "x", "y", "z"]), "labels is"),
    "fewer, and ports agree": (
        lambda folder, about: (
            say("labels", value=["ant", "bee"])(folder, about),
            [port.update(shape=["batch", 2]) for port in about["outputs"]],
        ),
        "has shape",
    ),
    "input type": (say("inputs", 0, "dtype", value="float32"), "the input 'image' is float32 there, and uint8"),
    "output type": (say("outputs", 1, "dtype", value="float16"), "the output 'probabilities' is float16 there"),
    "no type": (say("inputs", 0, "dtype", value="complex"), "dtype"),
    "input shape": (say("inputs", 0, "shape", value=["batch", "height", "width", 1]), "has shape"),
    "input rank": (say("inputs", 0, "shape", value=["batch", 3]), "has 2 axes"),
    "input name": (say("inputs", 0, "name", value="picture"), "it names the inputs ['picture']"),
    "output name": (say("outputs", 0, "name", value="scores"), "it names the outputs"),
    "an output less": (lambda folder, about: about["outputs"].pop(), "it names the outputs"),
    "no temperature": (say("temperature", value=0), "temperature"),
    "cold": (say("temperature", value=-1.7), "temperature"),
    "another temperature": (say("temperature", value=2.5), "temperature is 2.5 there, and 1.7 in the graph"),
    "another task": (say("task", value="text_classification"), "task is text_classification there"),
    "unknown task": (say("task", value="dreaming"), "task is dreaming there"),
    "another size": (say("preprocessing", "resize_to", value=40), "preprocessing is"),
    "another mean": (say("preprocessing", "mean", value=[0.1, 0.1, 0.1]), "preprocessing is"),
    "another limit": (say("limits", "max_pixels", value=7), "limits is"),
    "another layout": (say("inputs", 0, "layout", value="NCHW"), "images are taken as NHWC"),
    "a short layout": (say("outputs", 0, "layout", value="C"), "has 2 axes, and its layout names 'C'"),
    "a file elsewhere": (say("sha256", "../x", value="0"), "sha256"),
    "graph unnamed": (lambda folder, about: about["sha256"].pop("model.onnx"), "sha256 does not name model.onnx"),
    "other weights": (graph(other_weights), "golden sample 1 of 9"),
    "antialias off": (graph(no_antialias), "resized by the graph"),
}


@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_a_contradiction_is_refused_at_load(exported: Path, tmp_path: Path, name: str):
    change, sentence = CONTRADICTIONS[name]
    with pytest.raises(ConfigError) as caught:
        load(changed(exported, tmp_path / "bundle", change), CPU)
    assert sentence in str(caught.value)


def changed(bundle: Path, folder: Path, change: Change) -> Path:
    shutil.copytree(bundle, folder)
    about = json.loads((folder / "bundle.json").read_text())
    change(folder, about)
    write_sealed(folder, about)
    return folder


def write_sealed(folder: Path, about: dict[str, Any]) -> None:
    """bundle.json with the digest that belongs to it, as of somebody who knows how it is made."""
    (folder / "bundle.json").write_text(json.dumps(about | {DIGEST: metadata_digest(about)}))


def test_what_is_nested_without_end_is_no_bundle(exported: Path, tmp_path: Path):
    shutil.copytree(exported, tmp_path / "bundle")
    (tmp_path / "bundle/bundle.json").write_text("[" * 100_000)
    with pytest.raises(ConfigError, match="is not JSON"):
        load(tmp_path / "bundle", CPU)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda sample: sample.update(raw="@@@"), "raw is not base64"),
        (lambda sample: sample.update(raw="caf\u00e9"), "raw is not base64"),
        (lambda sample: sample["rows"][0].update(probabilities=["a"] * 4), "nested lists of numbers"),
        (lambda sample: sample["rows"][0].update(probabilities=[[1], [2, 3]]), "nested lists of numbers"),
        (lambda sample: sample["rows"][0].clear(), "rows"),
        (lambda sample: sample["rows"][0].update(probabilities=[0.5]), "probabilities have shape"),
        (lambda sample: sample.update(media="text/plain", raw="aGVsbG8="), "cannot be read"),
    ],
)
def test_golden_samples_that_prove_nothing_are_refused(exported: Path, tmp_path: Path, change: Any, sentence: str):
    def changing(folder: Path, about: dict[str, Any]) -> None:
        golden = json.loads((folder / "golden.json").read_text())
        change(golden["samples"][0])
        (folder / "golden.json").write_text(json.dumps(golden))
        about["sha256"]["golden.json"] = digest(folder / "golden.json")

    with pytest.raises(ConfigError) as caught:
        load(changed(exported, tmp_path / "bundle", changing), CPU)
    assert sentence in str(caught.value)


def test_what_was_exported_is_proved(exported: Path, texts: Path):
    assert load(exported, CPU).proved == 9  # eight, and noise
    assert load(texts, CPU).proved == 3


EDITS: dict[str, Change] = {
    "a metric": say("metrics", value={"test": {"accuracy": {"value": 0.999}}}),
    "the strategy": say("strategy", value="head_only"),
    "a version": say("versions", "torch", value="9.9"),
    "the parity": say("parity", value=[]),
    "an open gate": say("open_gate", value=["agreement 0"]),
    "the digest": say(DIGEST, value="0" * 64),
    "no text": say(DIGEST, value=None),
}
"""What the graph and the golden samples do not show."""


@pytest.mark.parametrize("name", EDITS)
def test_an_edited_description_is_refused_at_load_and_at_a_hot_swap(exported: Path, tmp_path: Path, name: str):
    folder = tmp_path / "bundle"
    shutil.copytree(exported, folder)

    async def swap() -> None:
        holder = Model(Settings(bundle=folder, runtime=CPU), Metrics())
        await holder.load()
        before = holder.now
        about = json.loads((folder / "bundle.json").read_text())
        EDITS[name](folder, about)
        (folder / "bundle.json").write_text(json.dumps(about))
        assert not await holder.reload()
        assert holder.now is before
        await holder.close()

    asyncio.run(swap())
    with pytest.raises(BundleError, match=r"is not what was exported: the sha256 .* copy the whole folder again"):
        load(folder, CPU)


def test_layout_is_no_edit_and_older_bundles_have_no_digest(exported: Path, tmp_path: Path):
    folder = tmp_path / "bundle"
    shutil.copytree(exported, folder)
    about = json.loads((folder / "bundle.json").read_text())
    (folder / "bundle.json").write_text(json.dumps(dict(reversed(about.items())), ensure_ascii=True))
    assert read_bundle(folder) == read_bundle(exported)
    del about[DIGEST]
    (folder / "bundle.json").write_text(json.dumps(about))
    assert read_bundle(folder) == read_bundle(exported)


def test_a_digest_of_what_is_nested_without_end_is_a_sentence(exported: Path, tmp_path: Path):
    for depth in (900, 980, 990, 100_000):
        (tmp_path / "bundle.json").write_text('{"digest": "0", "labels": ' + "[" * depth + "]" * depth + "}")
        with pytest.raises(ConfigError):
            read_bundle(tmp_path)


@pytest.mark.parametrize("name", ["fewer labels", "input type", "cold", "other weights"])
def test_a_contradiction_is_refused_at_a_hot_swap(exported: Path, tmp_path: Path, name: str):
    async def swap() -> str:
        folder, metrics = tmp_path / "bundle", Metrics()
        shutil.copytree(exported, folder)
        holder = Model(Settings(bundle=folder, runtime=CPU), metrics)
        await holder.load()
        before = holder.now
        about = json.loads((folder / "bundle.json").read_text())
        CONTRADICTIONS[name][0](folder, about)
        write_sealed(folder, about)
        assert not await holder.reload()
        assert holder.now is before
        await holder.close()
        return metrics.text().decode()

    assert 'tlpipe_reloads_total{outcome="failed"} 1' in asyncio.run(swap())


def fewer_words(folder: Path, about: dict[str, Any]) -> None:
    model = onnx.load(folder / "model.onnx")
    (table,) = [each for each in model.graph.initializer if each.name.endswith("word_embeddings.weight")]
    words = len(json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"])
    table.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(table)[: words - 1], table.name))
    del model.graph.value_info[:]
    onnx.save(model, folder / "model.onnx")
    about["sha256"]["model.onnx"] = digest(folder / "model.onnx")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (fewer_words, "cannot run what bundle.json describes"),
        (say("preprocessing", "max_length", value=4096), "preprocessing is"),
        (say("preprocessing", "token_types", value=False), "preprocessing is"),
        (lambda folder, about: about["sha256"].pop("tokenizer.json"), "does not name tokenizer.json"),
    ],
)
def test_a_tokenizer_that_is_not_the_networks_is_refused(texts: Path, tmp_path: Path, change: Change, sentence: str):
    with pytest.raises(ConfigError) as caught:
        load(changed(texts, tmp_path / "bundle", change), CPU)
    assert sentence in str(caught.value)


@pytest.mark.parametrize("fitted", [{"no_answer_threshold": 0.4}, {}, {"no_answer_threshold": 0.3, "other": 1.0}])
def test_another_threshold_is_refused(questions: Path, tmp_path: Path, fitted: Any):
    assert load(questions, CPU).bundle.fitted == {"no_answer_threshold": 0.3}
    with pytest.raises(ConfigError, match=r"in the graph; export the bundle again") as caught:
        load(changed(questions, tmp_path / "bundle", say("fitted", value=fitted)), CPU)
    assert f"fitted is {json.dumps(fitted, sort_keys=True)} there" in str(caught.value)


def test_other_devices_may_differ_as_their_arithmetic_does(exported: Path):
    loaded, golden = load(exported, CPU), read_golden(exported)
    off = {"by 0.003": 0.003, "by 0.03": 0.03}

    def shifted(by: float) -> proof.Run:
        return lambda feeds: {name: value + np.float32(by) for name, value in loaded.session.run(feeds).items()}

    strict = Golden(tolerance=0.02, network_tolerance=1e-4, samples=golden.samples)
    proof.prove(strict, loaded.reading, {"CUDA": shifted(off["by 0.003"])}, "cuda")
    for device, by in (("cpu", "by 0.003"), ("cuda", "by 0.03")):
        with pytest.raises(ConfigError, match="differ by"):
            proof.prove(strict, loaded.reading, {"CUDA": shifted(off[by])}, device)


def test_a_variant_proves_what_it_says_itself(exported: Path):
    loaded = load(exported, CPU)

    def halved(feeds: Any) -> Any:
        return {name: value / 2 for name, value in loaded.session.run(feeds).items()}

    said = proof.answered(read_golden(exported), loaded.reading, halved)
    assert said.network_tolerance == said.tolerance
    proof.prove(said, loaded.reading, {"variant": halved}, "cpu")
    with pytest.raises(ConfigError, match="differ by"):
        proof.prove(said, loaded.reading, {"original": loaded.session.run}, "cpu")
    assert read_bundle(exported).sha256.keys() == {"golden.json", "model.onnx"}
