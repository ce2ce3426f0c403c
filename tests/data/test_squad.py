import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tlpipe.config import ConfigError
from tlpipe.data.base import Sample
from tlpipe.data.spec import SplitShares
from tlpipe.data.split import check_splits
from tlpipe.data.squad import Question, Squad, read_squad

Write = Callable[[Any], Path]
CONTEXT = "Naïve 🙂 Zoë lives in Tōkyō."


def asked(name: str, *answers: tuple[int, str], **fields: Any) -> dict[str, Any]:
    given = [{"answer_start": start, "text": text} for start, text in answers]
    return {"id": name, "question": f"Who is {name}?", "answers": given, **fields}


def article(title: str, *paragraphs: tuple[str, list[dict[str, Any]]]) -> dict[str, Any]:
    return {"title": title, "paragraphs": [{"context": context, "qas": qas} for context, qas in paragraphs]}


def squad(*articles: dict[str, Any], version: str = "v2.0") -> bytes:
    return json.dumps({"version": version, "data": articles}, ensure_ascii=False).encode()


V2 = squad(
    article(
        "Towns",
        (CONTEXT, [asked("q2", (8, "Zoë"), (8, "Zoë lives"), is_impossible=False), asked("q1", is_impossible=True)]),
        ("Another.", [asked("q3", (0, "Another"))]),
    ),
    article("Rivers", ("A river runs.", [asked("q4", (2, "river"))])),
)


def source(root: Path, **fields: Any) -> Squad:
    return Squad(**{"path": str(root), "file": "a.json", **fields})


def test_questions_labels_and_groups(tree: Write):
    made = source(tree({"a.json": V2, "b.txt": b""}))
    assert made.scan() == [
        Sample("q1", "unanswered", None, "Towns"),
        Sample("q2", "answered", None, "Towns"),
        Sample("q3", "answered", None, "Towns"),
        Sample("q4", "answered", None, "Rivers"),
    ]
    assert made.ignored() == ["b.txt"]
    question = made.question("q2")
    assert (question.texts, question.fault()) == (("Zoë", "Zoë lives"), None)
    assert json.loads(source(Path(made.path)).read("q2"))["answers"] == [[8, "Zoë"], [8, "Zoë lives"]]


def test_version_one_has_no_is_impossible(tree: Write):
    made = source(tree({"a.json": squad(article("T", ("A cat.", [asked("q", (2, "cat"))])), version="1.1")}))
    assert made.scan() == [Sample("q", "answered", None, "T")]


def test_a_file_a_split_and_other_encodings(tree: Write):
    other = squad(article("Élan", ("Café noir.", [asked("q9", (0, "Café"))])))
    root = tree({"a.json": b"\xef\xbb\xbf" + V2, "b.json": other.decode().encode("latin-1")})
    splits = {"train": "a.json", "test": "b.json"}
    with pytest.raises(ConfigError, match=r"b\.json is not utf-8"):
        source(root, file=None, splits=splits).scan()
    assert source(root, file="b.json", encoding="latin-1").question("q9").answers == ((0, "Café"),)
    assert {sample.split for sample in source(root, file=None, splits={"train": "a.json"}).scan()} == {"train"}


def test_articles_that_share_a_context_are_one_group_and_contexts_can_be_groups(tree: Write):
    qas = [asked("q5", (0, "Another"))]
    root = tree({"a.json": V2[:-2] + b"," + json.dumps(article("Copy", ("Another.", qas))).encode() + b"]}"})
    by_article = {sample.id: sample.group for sample in source(root).scan()}
    assert by_article["q5"] == "Towns"
    by_context = {sample.id: sample.group for sample in source(root, group="context").scan()}
    assert by_context["q5"] == by_context["q3"] != by_context["q2"]
    assert by_context["q1"] == by_context["q2"]


def test_a_context_in_two_given_splits_is_refused(tree: Write):
    root = tree({"a.json": V2, "b.json": squad(article("Copy", ("Another.", [asked("q5", (0, "Another"))])))})
    samples = source(root, file=None, splits={"train": "a.json", "test": "b.json"}).scan()
    with pytest.raises(ConfigError, match="1 groups are in more than one split: Towns"):
        check_splits(samples, SplitShares(validation=0.5, test=None))


@pytest.mark.parametrize(
    ("answers", "impossible", "reason", "said"),
    [
        (
            ((9, "Zoë"),),
            False,
            "misplaced_answer",
            "'Zoë' is said to be at character 9, where there is 'oë '; it stands at 8",
        ),
        (((-1, "."),), False, "misplaced_answer", "it stands at 26"),
        (((8, "Zoe"),), False, "misplaced_answer", "it stands nowhere in the context"),
        (((8, "Zoë"), (99, "Zoë")), False, "misplaced_answer", "where there is ''"),
        (((5, " "),), False, "empty_answer", "has no text"),
        (((8, "Zoë"),), True, "contradiction", "is_impossible is true"),
        ((), False, "no_answer", "there is no answer"),
    ],
)
def test_what_cannot_be_learnt_from(answers: Any, impossible: bool, reason: str, said: str):
    fault = Question("q", "Who?", CONTEXT, answers, impossible, "T").fault()
    assert fault is not None
    assert fault[0] == reason
    assert said in fault[1]


def test_empty_questions_and_contexts_are_faults():
    assert Question("q", " ", CONTEXT, (), True, "T").fault() == ("empty", "an empty question")
    assert Question("q", "Who?", "\n", (), True, "T").fault() == ("empty", "an empty context")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"{", "not JSON"),
        (b"[]", "data is no list"),
        (b'{"data": [1]}', r"data\[0\].paragraphs is no list"),
        (b'{"data": [{"paragraphs": [{"qas": []}]}]}', r"paragraphs\[0\].context is no text"),
        (squad(article("T", ("c", [{"question": "?", "answers": []}]))), r"qas\[0\] has no id"),
        (squad(article("T", ("c", [asked("q", is_impossible="yes")]))), "is_impossible is 'yes'"),
        (squad(article("T", ("c", [{"id": "q", "question": "?"}]))), r"qas\[0\].answers is no list"),
        (squad(article("T", ("c", [asked("q", ("0", "c"))]))), "has no answer_start"),  # type: ignore[arg-type]
        (squad(article("T", ("c", [asked("q"), asked("q")]))), "two questions have the id 'q'"),
    ],
)
def test_what_is_no_squad_is_refused_with_its_place(tree: Write, content: bytes, said: str):
    with pytest.raises(ConfigError, match=said):
        source(tree({"a.json": content})).scan()


@pytest.mark.parametrize("fields", [{"file": None}, {"splits": {"train": "a.json"}}])
def test_one_file_or_one_a_split(tree: Write, fields: dict[str, Any]):
    with pytest.raises(ConfigError, match="give either `file`"):
        source(tree({"a.json": V2}), **fields).scan()


def test_a_missing_file_names_what_is_there(tree: Write):
    with pytest.raises(ConfigError, match=r"did you mean 'a\.json'"):
        list(read_squad(tree({"a.json": V2}) / "b.json"))
