"""CoNLL columns and JSON lines: what is read, and that every line which cannot be is named."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tlpipe.config import ConfigError, parse
from tlpipe.data import AnySource
from tlpipe.data.conll import Conll

Write = Callable[[Any], Path]
COLUMNS = "EU NNP I-ORG\nrejects VBZ O\n\nPeter NNP I-PER\nBlackburn NNP I-PER\n"


def source(tree: Write, files: dict[str, bytes], **fields: Any) -> Conll:
    made = parse({"kind": "conll", "path": str(tree(files)), **fields}, AnySource, "data.source")
    assert isinstance(made, Conll)
    return made


def refusal(tree: Write, content: str | bytes, **fields: Any) -> str:
    raw = content if isinstance(content, bytes) else content.encode()
    with pytest.raises(ConfigError) as caught:
        source(tree, {"a.txt": raw}, file="a.txt", **fields).scan()
    return str(caught.value)


def test_sentences_end_at_empty_lines_and_are_named_by_their_first(tree: Write) -> None:
    made = source(tree, {"a.txt": COLUMNS.encode(), "note.md": b"x"}, file="a.txt", scheme="iob1")
    assert [sample.id for sample in made.scan()] == ["a.txt:00000001", "a.txt:00000004"]
    assert made.sentence("a.txt:00000004").words == ("Peter", "Blackburn")
    assert json.loads(made.read("a.txt:00000004")) == {"tokens": ["Peter", "Blackburn"], "tags": ["B-PER", "I-PER"]}
    assert made.sentence("a.txt:00000004").changed == 1
    assert made.ignored() == ["note.md"]


def test_columns_are_chosen_and_separated_by_tabs_or_spaces(tree: Write) -> None:
    text = "O\tNew York\t7\nO\tis\t8\n"
    made = source(tree, {"a.txt": text.encode()}, file="a.txt", token_column=2, tag_column=1)
    (sample,) = made.scan()
    assert made.sentence(sample.id).words == ("New York", "is")
    assert sample.label == "without entities"


def test_documents_are_groups_and_their_marks_no_words(tree: Write) -> None:
    text = "a O\n\n-DOCSTART- -X-\n\nb O\n\nc B-x\n-DOCSTART- -X-\nd O\n"
    samples = source(tree, {"a.txt": text.encode()}, file="a.txt").scan()
    assert [sample.group for sample in samples] == [None, "a.txt:1", "a.txt:1", "a.txt:2"]
    assert [sample.label for sample in samples].count("with entities") == 1


def test_a_file_a_split_and_json_lines(tree: Write) -> None:
    lines = [{"tokens": ["Ada", "ran"], "tags": ["B-per", "O"]}, {"tokens": ["so"], "tags": ["O"], "more": 1}]
    files = {"train.jsonl": "\n".join(map(json.dumps, lines)).encode(), "b.conll": b"a B-x\r\nb\tO\r\n\r\n"}
    made = source(tree, files, splits={"train": "train.jsonl", "test": "b.conll"})
    assert [(sample.id, sample.split) for sample in made.scan()] == [
        ("b.conll:00000001", "test"), ("train.jsonl:00000001", "train"), ("train.jsonl:00000002", "train"),
    ]  # fmt: skip
    assert made.sentence("b.conll:00000001").words == ("a", "b")


def test_other_encodings_are_read(tree: Write) -> None:
    raw = "größe B-x\n".encode("latin-1")
    made = source(tree, {"a.txt": raw}, file="a.txt", encoding="latin-1")
    assert made.sentence(made.scan()[0].id).words == ("größe",)
    assert "is not utf-8" in refusal(tree, raw)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a O\nb\n", "line 2: 1 columns where 2 are expected"),
        ("a x O\nb O\n", "line 2: 2 columns where 3 are expected"),
        ("a O\n\tO\n", "line 2: the word is empty"),
        ("a O\n\u00a0\tO\n", "line 2: the word is empty"),
        ("a O\nb I-loc\n", "line 2: 'I-loc' continues nothing"),
        ("a O\nb X-loc\n", "line 2: 'X-loc' is no tag"),
        ("\n\n", "there is no sentence"),
    ],
)
def test_the_line_that_cannot_be_read_is_named(tree: Write, text: str, sentence: str) -> None:
    assert sentence in refusal(tree, text)


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ('{"tokens": ["a"], "tags": []}', "1 tokens and 0 tags"),
        ('{"tokens": "a", "tags": ["O"]}', "'tokens' must be a list of texts"),
        ('{"tokens": ["a"]}', "'tags' must be a list of texts"),
        ('{"tokens": [" "], "tags": ["O"]}', "a token is empty"),
        ('{"tokens": [], "tags": []}', "a token is empty, or there is none"),
        ('{"tokens": ["\\ud800"], "tags": ["O"]}', "surrogate"),
        ('{"tokens": ["a"], "tags": ["I-x"]}', "line 2: 'I-x' continues nothing"),
        ("[1]", "must be a JSON object"),
    ],
)
def test_the_json_line_that_cannot_be_read_is_named(tree: Write, line: str, sentence: str) -> None:
    text = '{"tokens": ["a"], "tags": ["B-x"]}\n' + line
    made = source(tree, {"a.jsonl": text.encode()}, file="a.jsonl")
    with pytest.raises(ConfigError) as caught:
        made.scan()
    assert sentence in str(caught.value)
    assert "line 2" in str(caught.value)


def test_one_file_or_one_a_split_is_needed(tree: Write) -> None:
    with pytest.raises(ConfigError, match="either `file`"):
        source(tree, {"a.txt": b"a O"}).scan()
    with pytest.raises(ConfigError, match=r"has no file 'b\.txt'"):
        source(tree, {"a.txt": b"a O"}, file="b.txt").scan()
