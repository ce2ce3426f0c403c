"""A tagger served: as the function, over HTTP, and what is refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.schemas import resolved
from tests.tagged import ABOUT, LABELS, PREPROCESS, sentence, write_tokenizer
from tests.untrained import answer_without_torch, make_noisy, make_text_bundle
from tlpipe.serve import BadInput, Predictor
from tlpipe.tagging import Tagger
from tlpipe.tasks.token_classification.export import HeldOutWords
from tlpipe.train.model import Classifier

WORDS = [[word for word, _ in sentence(seed)] for seed in range(1, 6)]
TEXTS = ["Ada ran in New York, old 🙂 Ulm", "naïve 日本", *map(" ".join, WORDS)]


@pytest.fixture(scope="module")
def model() -> Classifier:
    made = make_noisy(ABOUT)
    with torch.no_grad():
        made.head[1].bias[LABELS.index("O")] -= 1  # so that there are entities to compare
    return made


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, model: Classifier) -> Path:
    """A bundle that passed its gate."""
    made = write_tokenizer(tmp_path_factory.mktemp("words"))
    return make_text_bundle(made, model, ABOUT, HeldOutWords(WORDS, made / "tokenizer.json"))


@pytest.fixture(scope="module")
def truth(served: Path, model: Classifier) -> Callable[[str | list[str]], list[dict[str, Any]]]:
    """Entities by torch, a text at a time."""
    tagger = Tagger(served / "tokenizer.json", PREPROCESS, LABELS)

    def entities(text: str | list[str]) -> list[dict[str, Any]]:
        read = tagger.read(text)
        with torch.no_grad():
            rows = [torch.from_numpy(PREPROCESS.pad([(each.ids, each.types)])) for each in read.windows]
            shares = [(model(row) / 1.7).softmax(-1)[0].numpy() for row in rows]
        return tagger.entities(read, shares)

    return entities


def same(found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> bool:
    scores = [each.pop("score") for each in (dict(each) for each in found)]
    assert scores == pytest.approx([each["score"] for each in expected], abs=1e-4)
    return [{**each, "score": 0} for each in found] == [{**each, "score": 0} for each in expected]


def test_the_entities_are_torchs_whatever_else_is_in_the_batch(served: Path, truth: Callable[..., Any]) -> None:
    predictor = Predictor(served, device="cpu", batch=3)
    items = [*TEXTS, *WORDS, {"words": WORDS[0]}, {"text": TEXTS[0]}]
    answers = predictor(items)
    for item, answer in zip(items, answers, strict=True):
        plain = next(iter(item.values())) if isinstance(item, dict) else item
        assert answer["text"] == (plain if isinstance(plain, str) else " ".join(plain))
        assert same(answer["entities"], truth(plain))
        assert all(answer["text"][each["start"] : each["end"]] == each["text"] for each in answer["entities"])
    assert sum(len(answer["entities"]) for answer in answers) > 5


def test_a_text_of_many_windows_is_answered_whole(served: Path, truth: Callable[..., Any]) -> None:
    text = " ".join(" ".join(words) for words in WORDS * 4)
    (answer,) = Predictor(served, device="cpu", batch=4)([text])
    assert same(answer["entities"], truth(text))
    assert answer["entities"][-1]["end"] > len(text) / 2


def test_a_table_has_the_entities_as_json(served: Path) -> None:
    predictor = Predictor(served, device="cpu")
    reading = predictor.loaded.reading
    answer = predictor(TEXTS[0])
    assert reading.columns(True) == ("entities",)
    assert json.loads(reading.cells(answer)[0]) == answer["entities"]


@pytest.mark.parametrize(
    ("item", "sentence"),
    [
        (3, "got int"),
        (["a", 1], "neither a text nor a list of words"),
        (["a", " "], "a word is empty"),
        ("", "the text is empty"),
        (" ", "the text is empty"),
        ([], "the text is empty"),
        ({"text": ["a"]}, "'text' holds list"),
        ({"words": "a"}, "'words' holds str"),
        ({"text": "a", "words": ["a"]}, "neither a text nor"),
        (b"\xff\xfe", "not UTF-8"),
        ("\ud800", "surrogate"),
        ("x" * 100_001, "100,001 characters"),
        ("the " * 5000, "windows; at most 128"),
    ],
)
def test_what_cannot_be_used_is_refused(served: Path, item: Any, sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence):
        Predictor(served, device="cpu")([item])


def test_http_takes_text_and_json_and_describes_both(own_server: Any, truth: Callable[..., Any]) -> None:
    bodies = [
        (TEXTS[0].encode(), "text/plain", TEXTS[0]),
        (json.dumps(WORDS[1]).encode(), "application/json", WORDS[1]),
        (json.dumps({"words": WORDS[1]}).encode(), "application/json", WORDS[1]),
        (" ".join(map(" ".join, WORDS * 4)).encode(), "text/plain; charset=utf-8", " ".join(map(" ".join, WORDS * 4))),
    ]
    for body, media, plain in bodies:
        status, answer, _ = own_server.send("POST", "/predict", body, {"content-type": media})
        assert status == 200
        assert same(answer["predictions"][0]["entities"], truth(plain))
    status, described, _ = own_server.send("GET", "/openapi.json")
    assert status == 200
    predictions = described["components"]["schemas"]["Predictions"]["properties"]["predictions"]
    answer = resolved(described, predictions["items"])
    entity = resolved(described, answer["properties"]["entities"]["items"])
    assert entity["properties"]["type"]["enum"] == ["per", "place"]
    status, answer, _ = own_server.send("POST", "/predict", b'{"words": [" "]}', {"content-type": "application/json"})
    assert (status, answer["error"]) == (400, "a word is empty; leave it out")
    status, about, _ = own_server.send("GET", "/v2/models/model")
    assert about["outputs"][1] == {"name": "probabilities", "datatype": "FP32", "shape": [-1, -1, 5]}


def test_neither_torch_nor_transformers_is_needed(served: Path) -> None:
    item = {"words": WORDS[0]}
    assert answer_without_torch(served, item) == Predictor(served, device="cpu")([item])[0]
