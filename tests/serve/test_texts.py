"""A text classifier served: as the function, over HTTP, and what is refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from typer.testing import CliRunner

from tests.untrained import answer_without_torch, make_about, make_noisy, make_text_bundle
from tlpipe.backbones.bert import Bert, Size
from tlpipe.cli import app
from tlpipe.data import tokens
from tlpipe.data.corpus import train_wordpiece
from tlpipe.export.text_parity import HeldOutTexts
from tlpipe.preprocess.text import TextPreprocess, Tokenizer
from tlpipe.serve import BadInput, Predictor
from tlpipe.serve.files import predict_files
from tlpipe.serve.runtime.session import Runtime, Session
from tlpipe.serve.variants.quantize import int8_dynamic
from tlpipe.tasks.union import TextClassification
from tlpipe.train.model import Classifier

TEXTS = ["a fine film", "bad", "so so, but long enough to be more than the rest of the batch", "naïve 🙂 日本"]
PAIR = ("is it fine", "it is")
LABELS = ("neg", "pos", "größe")
BACKBONE = Bert(corpus=("x",), size=Size(layers=2, width=16, heads=2, vocabulary=200), max_length=24)
ABOUT = make_about(task=TextClassification(), backbone=BACKBONE, preprocess=BACKBONE.preprocess(), labels=LABELS)


@pytest.fixture(scope="module")
def model() -> Classifier:
    return make_noisy(ABOUT)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, model: Classifier) -> Path:
    """A bundle that passed its gate."""
    made = tmp_path_factory.mktemp("texts")
    train_wordpiece([*TEXTS, *PAIR] * 3, 200, True, made / "tokenizer.json")
    return make_text_bundle(made, model, ABOUT, HeldOutTexts([(text,) for text in TEXTS], made / "tokenizer.json"))


@pytest.fixture(scope="module")
def truth(served: Path, model: Classifier) -> Callable[..., np.ndarray]:
    """Probabilities by torch of one text or pair."""
    preprocess = TextPreprocess(max_length=24)
    tokenizer = Tokenizer(served / "tokenizer.json", preprocess)

    def probabilities(*text: str) -> np.ndarray:
        tokens = tokenizer([text])
        x = torch.from_numpy(np.stack([tokens[name] for name in preprocess.inputs], 1))
        with torch.no_grad():
            return (model(x) / 1.7).softmax(1)[0].numpy()

    return probabilities


def answered(answer: dict[str, Any]) -> list[float]:
    found = {each["label"]: each["probability"] for each in answer["top"]}
    return [found[label] for label in LABELS]


def test_the_answers_are_torchs_whatever_else_is_in_the_batch(served: Path, truth: Callable[..., np.ndarray]):
    predictor = Predictor(served, device="cpu", batch=4)
    for text, answer in zip(TEXTS, predictor(TEXTS), strict=True):
        assert answered(answer) == pytest.approx(truth(text), abs=2e-5)
        assert answer["label"] == LABELS[int(truth(text).argmax())]
    assert answered(predictor([PAIR])[0]) == pytest.approx(truth(*PAIR), abs=2e-5)
    assert not np.allclose(truth(*PAIR), truth(PAIR[0]), atol=1e-3), "the pair must matter for this test to mean much"


def test_a_path_is_a_file_of_text(served: Path, tmp_path: Path):
    predictor = Predictor(served, device="cpu")
    (tmp_path / "a.txt").write_text(TEXTS[0], encoding="utf-8")
    assert predictor(tmp_path / "a.txt") == predictor(TEXTS[0]) == predictor(TEXTS[0].encode())


@pytest.mark.parametrize(
    ("item", "sentence"),
    [
        (3, "got int"),
        (("a", "b", "c"), "neither a text nor a pair"),
        (b"\xff\xfe", "not UTF-8"),
        (Path("absent.txt"), "No such file"),
        ("\ud800", "surrogate"),
        ("x" * 1_000_001, "too long"),
        ("", "the text is empty"),
        (" \n", "the text is empty"),
        (b"", "the text is empty"),
        (("fine", " "), "the text is empty"),
    ],
)
def test_what_is_no_text_is_refused_with_a_sentence(served: Path, item: Any, sentence: str):
    with pytest.raises(BadInput, match=sentence):
        Predictor(served, device="cpu")([item])


def test_http_answers_as_the_predictor(own_server: Any, served: Path):
    expected = Predictor(served, device="cpu")([TEXTS[3], PAIR])
    bodies = [
        ("text/plain", TEXTS[3].encode(), expected[0]),
        ("text/plain; charset=utf-8", TEXTS[3].encode(), expected[0]),
        ("application/json", json.dumps(TEXTS[3]).encode(), expected[0]),
        ("application/json", json.dumps({"text": TEXTS[3]}).encode(), expected[0]),
        ("application/json", json.dumps({"text": PAIR[0], "pair": PAIR[1]}).encode(), expected[1]),
    ]
    for media, body, answer in bodies:
        status, content, _ = own_server.send("POST", "/predict", body, {"content-type": media})
        assert status == 200, content
        assert content["predictions"] == [answer]


@pytest.mark.parametrize(
    ("media", "body", "status", "sentence"),
    [
        ("image/png", b"x", 415, "send text/plain or application/json"),
        ("application/json", b'{"words": "x"}', 400, "neither a text"),
        ("application/json", b'{"text": 3}', 400, "neither a text"),
        ("application/json", b"[" * 100_000, 400, "nested too deeply"),
        ("application/json", b'"\\ud800"', 400, "surrogate"),
        ("text/plain", b"\xff", 400, "not UTF-8"),
        ("application/json", b'["fine", "bad"]', 400, "several texts are parts of a multipart/form-data body"),
        ("text/plain", b"", 400, "the text is empty"),
        ("application/json", b'""', 400, "the text is empty"),
        ("application/json", b'{"text": "fine", "pair": ""}', 400, "the text is empty"),
    ],
)
def test_bad_bodies_are_refused(own_server: Any, media: str, body: bytes, status: int, sentence: str):
    found, content, _ = own_server.send("POST", "/predict", body, {"content-type": media})
    assert found == status
    assert sentence in content["error"]


def test_parts_without_a_content_type_are_text(own_server: Any, served: Path):
    parts = [f'--b\r\nContent-Disposition: form-data; name="text"\r\n\r\n{text}\r\n' for text in TEXTS]
    status, content, _ = own_server.send(
        "POST", "/predict", ("".join(parts) + "--b--\r\n").encode(), {"content-type": "multipart/form-data; boundary=b"}
    )
    assert status == 200, content
    assert content["predictions"] == Predictor(served, device="cpu")(TEXTS)


def infer(own_server: Any, **arrays: list[list[int]]) -> tuple[int, Any]:
    inputs = [
        {
            "name": name,
            "shape": [len(rows), len(rows[0])],
            "datatype": "INT64",
            "data": [v for row in rows for v in row],
        }
        for name, rows in arrays.items()
    ]
    status, content, _ = own_server.send("POST", "/v2/models/model/infer", json.dumps({"inputs": inputs}))
    return status, content


def test_tokens_can_be_sent_as_tensors(own_server: Any, served: Path, truth: Callable[..., np.ndarray]):
    tokens = Tokenizer(served / "tokenizer.json", TextPreprocess(max_length=24))([(TEXTS[0],)])
    status, content = infer(own_server, **{name: rows.tolist() for name, rows in tokens.items()})
    assert status == 200, content
    outputs = {each["name"]: each["data"] for each in content["outputs"]}
    assert outputs["probabilities"] == pytest.approx(truth(TEXTS[0]), abs=2e-5)


@pytest.mark.parametrize(
    ("ids", "mask", "types", "sentence"),
    [
        ([[5, 100_000]], [[1, 1]], [[0, 0]], "input_ids has values outside"),
        ([[5, -1]], [[1, 1]], [[0, 0]], "input_ids has values outside"),
        ([[5, 6]], [[1, 1]], [[0, 7]], "token_type_ids has values outside"),
        ([[5] * 25], [[1] * 25], [[0] * 25], "25 tokens were sent; 1 to 24"),
        ([[5, 6]], [[1]], [[0, 0]], "shape"),
    ],
)
def test_tokens_that_the_network_does_not_know_are_refused(
    own_server: Any, ids: Any, mask: Any, types: Any, sentence: str
):
    status, content = infer(own_server, input_ids=ids, attention_mask=mask, token_type_ids=types)
    assert status == 400
    assert sentence in content["error"]


def test_the_interface_says_that_texts_are_read(own_server: Any):
    _, document, _ = own_server.send("GET", "/openapi.json")
    assert set(document["paths"]["/predict"]["post"]["requestBody"]["content"]) == {
        "text/plain", "application/json", "multipart/form-data",
    }  # fmt: skip


def test_a_folder_of_texts_is_answered_file_by_file(served: Path, tmp_path: Path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "a.TXT").write_text(TEXTS[0], encoding="utf-8")
    (tmp_path / "empty.txt").touch()
    (tmp_path / "many.jsonl").write_text("\n".join(map(json.dumps, TEXTS)), encoding="utf-8")
    (tmp_path / "image.png").touch()
    out = tmp_path / "out.jsonl"  # among what it is walked for, and not read
    command = ["predict", str(served), str(tmp_path), "--out", str(out), "--device", "cpu"]
    for _ in range(2):
        result = CliRunner().invoke(app, command)
        assert result.exit_code == 0, result.output
        found = {line.pop("path"): line for line in map(json.loads, out.read_text(encoding="utf-8").splitlines())}
        names = [f"many.jsonl:{number}" for number in range(1, len(TEXTS) + 1)]
        assert set(found) == {str(tmp_path / name) for name in ("deep/a.TXT", "empty.txt", *names)}
        assert "the text is empty" in found[str(tmp_path / "empty.txt")]["error"]
        assert found[str(tmp_path / "deep/a.TXT")] == Predictor(served, device="cpu")(TEXTS[0])


def test_each_line_of_a_jsonl_file_is_a_sample(served: Path, tmp_path: Path):
    lines = [json.dumps(TEXTS[0]), json.dumps({"text": PAIR[0], "pair": PAIR[1]}), "", "{", json.dumps(list(PAIR)), "3"]
    path = tmp_path / "many.jsonl"
    path.write_text("\n".join(lines), encoding="utf-8")
    predictor = Predictor(served, device="cpu")
    found = dict(predict_files(predictor, [path]))
    assert [name.rpartition(":")[2] for name in found] == ["1", "2", "4", "5", "6"]
    answers = list(found.values())
    assert answers[0] == predictor(TEXTS[0])
    assert answers[1] == answers[3] == predictor([PAIR])[0] == predictor({"text": PAIR[0], "pair": PAIR[1]})
    assert "not JSON" in str(answers[2])
    assert "got int" in str(answers[4])


@pytest.fixture(scope="module")
def packed(served: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """48 texts of 3 to 20 words; the labels are what the bundle itself says, so that its accuracy is 1."""
    folder, preprocess = tmp_path_factory.mktemp("packed"), TextPreprocess(max_length=24)
    words = " ".join([*TEXTS, *PAIR]).split()
    generator = np.random.default_rng(0)
    chosen = [" ".join(generator.choice(words, generator.integers(3, 20))) for _ in range(48)]
    tokenizer = Tokenizer(served / "tokenizer.json", preprocess)
    tokens.write(folder, [(row.ids, row.types) for row in tokenizer.rows([(text,) for text in chosen])])
    labels = [LABELS.index(answer["label"]) for answer in Predictor(served, device="cpu")(chosen)]
    assert len(set(labels)) > 1
    np.save(folder / "labels.npy", labels)
    content = {
        "classes": LABELS, "task": "text_classification",
        "ranges": {"train": [0, 8], "validation": [8, 48], "test": [48, 48]},
        "preprocess": preprocess.model_dump(mode="json"), "fingerprint": "f",
    }  # fmt: skip
    (folder / "dataset.json").write_text(json.dumps(content))
    return folder


def test_dynamic_int8_computes_nearly_the_same_with_int8_weights(served: Path, truth: Callable[..., np.ndarray]):
    made = int8_dynamic((served / "model.onnx").read_bytes())
    graph = onnx.load_from_string(made).graph
    linear = sum(node.op_type == "MatMulInteger" for node in graph.node)
    assert linear >= 6 * BACKBONE.size.layers + 1  # query, key, value, output and two of the feed-forward; the head
    assert sum(each.data_type == onnx.TensorProto.INT8 and len(each.dims) == 2 for each in graph.initializer) == linear
    session = Session(made, Runtime(device="cpu", threads=1))
    feeds = Tokenizer(served / "tokenizer.json", TextPreprocess(max_length=24))([(TEXTS[2],)])
    assert 0 < np.abs(session.run(feeds)["probabilities"][0] - truth(TEXTS[2])).max() < 0.1


def test_neither_torch_nor_transformers_is_needed(served: Path) -> None:
    item = {"text": PAIR[0], "pair": PAIR[1]}
    assert answer_without_torch(served, item) == Predictor(served, device="cpu")([item])[0]
