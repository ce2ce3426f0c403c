"""A model that answers questions, served: several windows are one answer, as the function and over HTTP."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.schemas import resolved
from tests.untrained import answer_without_torch, fit_again, make_about, make_noisy, make_text_bundle
from tlpipe.backbones.bert import Bert, Size
from tlpipe.bundle import read_bundle, write_bundle
from tlpipe.data.corpus import train_wordpiece
from tlpipe.preprocess.answers import Answers, decode
from tlpipe.preprocess.questions import QuestionPreprocess, Questions
from tlpipe.serve import BadInput, Predictor
from tlpipe.serve.files import found, predict_files
from tlpipe.tasks.question_answering.export import HeldOutQuestions
from tlpipe.tasks.union import QuestionAnswering
from tlpipe.train.model import Classifier

CONTEXTS = (
    "Zoë lives in Tōkyō 🙂 and works in New York.",
    "The river runs for 1,000 km. " * 8,
    "Short.",
)
QUESTIONS = [(question, context) for question in ("Where does Zoë live?", "How long is it?") for context in CONTEXTS]
BACKBONE = Bert(corpus=("x",), size=Size(layers=2, width=16, heads=2, vocabulary=120), max_length=32, pooling="none")
TASK = QuestionAnswering(stride=6, longest_question=10, longest_answer=8)
PREPROCESS = TASK.preprocess(BACKBONE.preprocess())
TEMPERATURE, THRESHOLD = 1.7, 0.3
OPTIONS = ("--queue", 20, "--max-batch", 4)
"""Of the server."""
ABOUT = make_about(
    task=TASK, backbone=BACKBONE, preprocess=PREPROCESS, labels=("start", "end"), temperature=TEMPERATURE,
    fitted={"no_answer_threshold": THRESHOLD},
)  # fmt: skip


@pytest.fixture(scope="module")
def model() -> Classifier:
    return make_noisy(ABOUT)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, model: Classifier) -> Path:
    """A bundle that passed its gate."""
    made = tmp_path_factory.mktemp("answers")
    train_wordpiece([*CONTEXTS, *(question for question, _ in QUESTIONS)] * 3, 120, True, made / "tokenizer.json")
    return make_text_bundle(made, model, ABOUT, HeldOutQuestions(QUESTIONS, made / "tokenizer.json"))


@pytest.fixture(scope="module")
def truth(served: Path, model: Classifier) -> Callable[[str, str], Answers]:
    """What torch says to a question."""
    questions = Questions(served / "tokenizer.json", PREPROCESS)

    def found(question: str, context: str) -> Answers:
        passage = next(questions([(question, context)]))
        scores = []
        for window in passage.windows:
            with torch.no_grad():
                logits = model(torch.from_numpy(PREPROCESS.pad([(window.ids, window.types)]))) / TEMPERATURE
            scores.append(logits[0].numpy().T)
        return decode(passage, scores, 5, PREPROCESS.longest_answer)

    return found


@pytest.mark.parametrize("batch", [1, 3, 32])
def test_the_answers_are_torchs_whatever_else_is_in_the_batch(
    served: Path, truth: Callable[[str, str], Answers], batch: int
):
    predictor = Predictor(served, device="cpu", batch=batch)
    for (question, context), answer in zip(QUESTIONS, predictor(QUESTIONS), strict=True):
        expected = truth(question, context)
        said = expected.said(THRESHOLD)
        assert answer["answer"] == ("" if said is None else said.text)
        assert answer["no_answer_probability"] == pytest.approx(expected.no_answer, abs=2e-5)
        assert [each["text"] for each in answer["n_best"]] == [span.text for span in expected.best]
        for each, span in zip(answer["n_best"], expected.best, strict=True):
            assert context[each["start"] : each["end"]] == each["text"]
            assert each["probability"] == pytest.approx(span.probability, abs=2e-5)
        if said is None:
            assert (answer["start"], answer["end"], answer["score"]) == (None, None, answer["no_answer_probability"])
        else:
            assert context[answer["start"] : answer["end"]] == answer["answer"]
            assert answer["score"] == answer["n_best"][0]["probability"]


def test_this_file_asks_about_several_windows_and_gets_both_kinds_of_answers(served: Path, tmp_path: Path):
    questions = Questions(served / "tokenizer.json", PREPROCESS)
    assert {len(each.windows) for each in questions(QUESTIONS)} >= {1, 4}
    margins = []
    for threshold in (-1e6, 1e6):
        bundle = read_bundle(served)
        folder = tmp_path / str(threshold)
        folder.mkdir()
        for name in read_bundle(served).sha256:
            (folder / name).write_bytes((served / name).read_bytes())
        write_bundle(folder, bundle)
        fit_again(folder, no_answer_threshold=threshold)
        margins.append({bool(each["answer"]) for each in Predictor(folder, device="cpu")(QUESTIONS)})
    assert margins == [{False}, {True}]


def test_a_model_of_answered_questions_always_answers(served: Path, tmp_path: Path):
    for name in read_bundle(served).sha256:
        (tmp_path / name).write_bytes((served / name).read_bytes())
    write_bundle(tmp_path, read_bundle(served))
    fit_again(tmp_path)
    predictor = Predictor(tmp_path, device="cpu")
    for answer in predictor(QUESTIONS):
        assert answer["answer"]
        assert answer["no_answer_probability"] is None
    nothing = predictor([("Who?", "\x01")])[0]  # of which the tokenizer leaves nothing
    assert nothing == {
        "answer": "", "start": None, "end": None, "score": None, "no_answer_probability": None, "n_best": [],
    }  # fmt: skip


def test_mappings_pairs_bytes_and_files(served: Path, tmp_path: Path):
    predictor = Predictor(served, device="cpu")
    question, context = QUESTIONS[0]
    mapping = {"question": question, "context": context}
    (tmp_path / "one.json").write_text(json.dumps(mapping), encoding="utf-8")
    expected = predictor([QUESTIONS[0]])[0]
    assert predictor(mapping) == predictor([mapping])[0] == expected
    assert predictor(json.dumps([question, context]).encode()) == predictor(tmp_path / "one.json") == expected
    (tmp_path / "many.jsonl").write_text("".join(json.dumps(each) + "\n" for each in QUESTIONS), encoding="utf-8")
    files = sorted(found([tmp_path], predictor.loaded.reading.endings), key=str)
    assert files == [tmp_path / "many.jsonl", tmp_path / "one.json"]
    assert [answer for _, answer in predict_files(predictor, files)] == [*predictor(QUESTIONS), expected]
    cells = predictor.loaded.reading.cells(expected)
    assert dict(zip(predictor.loaded.reading.columns(False), cells, strict=True))["answer"] == expected["answer"]


@pytest.mark.parametrize(
    ("item", "sentence"),
    [
        ("Who?", "no question with a context"),
        (("a", "b", "c"), "no question with a context"),
        ({"question": "Who?"}, "must be texts"),
        ({"question": "Who?", "context": "x", "id": 3}, "unknown key 'id'"),
        ((" ", "x"), "the question is empty"),
        (("Who?", " "), "the context is empty"),
        ((3, "x"), "must be texts"),
        (("Who?", "\ud800"), "surrogate"),
        (("Who?", "x" * 100_001), "at most 100,000"),
        (b"{", "not JSON"),
        (Path("absent.json"), "No such file"),
    ],
)
def test_what_is_no_question_is_refused_with_a_sentence(served: Path, item: Any, sentence: str):
    with pytest.raises(BadInput, match=sentence):
        Predictor(served, device="cpu")([item])


def test_http_answers_as_the_predictor(own_server: Any, served: Path):
    expected = Predictor(served, device="cpu")(QUESTIONS)
    for (question, context), answer in zip(QUESTIONS, expected, strict=True):
        body = json.dumps({"question": question, "context": context})
        status, content, _ = own_server.send("POST", "/predict", body, {"content-type": "application/json"})
        assert status == 200, content
        assert content["predictions"] == [answer]
    _, content, _ = own_server.send("POST", "/predict?top=1", body, {"content-type": "application/json"})
    assert len(content["predictions"][0]["n_best"]) == 1


def test_a_context_of_more_windows_than_the_queue_takes_is_refused(own_server: Any, served: Path):
    context = "The river runs for 1,000 km. " * 60
    assert Predictor(served, device="cpu")([("How long?", context)])[0]["n_best"]
    body = json.dumps(["How long?", context])
    status, content, _ = own_server.send("POST", "/predict", body, {"content-type": "application/json"})
    assert status == 413
    assert "this server takes 20" in content["error"]


@pytest.mark.parametrize(
    ("media", "body", "status", "sentence"),
    [
        ("text/plain", b"Who?", 415, "send application/json"),
        ("application/json", b'{"question": "Who?"}', 400, "must be texts"),
        ("application/json", b"[1, 2, 3]", 400, "no question with a context"),
    ],
)
def test_bad_bodies_are_refused(own_server: Any, media: str, body: bytes, status: int, sentence: str):
    found, content, _ = own_server.send("POST", "/predict", body, {"content-type": media})
    assert found == status
    assert sentence in content["error"]


def test_the_interface_says_what_is_asked_and_answered(own_server: Any):
    _, document, _ = own_server.send("GET", "/openapi.json")
    predict = document["paths"]["/predict"]["post"]
    assert set(predict["requestBody"]["content"]) == {"application/json", "multipart/form-data"}
    answer = resolved(document, document["components"]["schemas"]["Predictions"]["properties"]["predictions"]["items"])
    body = json.dumps(QUESTIONS[0])
    _, content, _ = own_server.send("POST", "/predict", body, {"content-type": "application/json"})
    assert set(content["predictions"][0]) == set(answer["properties"]) == set(answer["required"])


def test_the_port_is_that_of_two_scores_a_token(served: Path):
    bundle = read_bundle(served)
    assert [(port.name, port.shape, port.layout) for port in bundle.outputs] == [
        ("logits", ("batch", "length", 2), "NLC"),
    ]
    assert all(np.isfinite(case.logits or 0) and case.same == 1 for case in bundle.parity)


def test_preprocessing_travels_with_the_bundle(served: Path):
    assert read_bundle(served).preprocessing == QuestionPreprocess(
        max_length=32, stride=6, longest_question=10, longest_answer=8
    )


def test_neither_torch_nor_transformers_is_needed(served: Path) -> None:
    item = dict(zip(("question", "context"), QUESTIONS[1], strict=True))
    assert answer_without_torch(served, item) == Predictor(served, device="cpu")([item])[0]
