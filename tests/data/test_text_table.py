import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tlpipe.config import ConfigError
from tlpipe.data.base import Sample
from tlpipe.data.text_table import TextTable

Write = Callable[[Any], Path]
CSV = b"text,label,fold,author,second\nfine film,pos,train,x,yes\nbad film,neg,dev,y,no\n"


def table(root: Path, **fields: Any) -> TextTable:
    return TextTable(**{"path": str(root), "table": "t.csv", **fields})


@pytest.fixture
def root(tree: Write) -> Path:
    return tree({"t.csv": CSV, "notes.md": b"hi"})


def test_text_label_split_and_group(root: Path):
    source = table(root, split_column="fold", group_column="author")
    assert source.scan() == [
        Sample("t.csv:00000002", "pos", "train", "x"),
        Sample("t.csv:00000003", "neg", "validation", "y"),
    ]
    assert source.text("t.csv:00000003") == ("bad film",)
    assert json.loads(source.read("t.csv:00000002")) == ["fine film"]
    assert source.ignored() == ["notes.md"]


def test_pairs_and_reading_without_a_scan(root: Path):
    assert table(root, pair_column="second").text("t.csv:00000002") == ("fine film", "yes")


def test_a_table_a_split_without_header_or_quoting(tree: Write):
    root = tree({"a.tsv": b'good "film\t1\nawful\t0\n', "b.tsv": b"so so\t0\n"})
    fields = {"text_column": "1", "label_column": "2", "header": False, "quoting": "none"}
    source = table(root, table=None, splits={"train": "a.tsv", "test": "b.tsv"}, **fields)
    assert [(sample.id, sample.split) for sample in source.scan()] == [
        ("a.tsv:00000001", "train"),
        ("a.tsv:00000002", "train"),
        ("b.tsv:00000001", "test"),
    ]
    assert source.text("a.tsv:00000001") == ('good "film',)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"table": None}, "give either `table`"),
        ({"splits": {"train": "t.csv"}}, "give either `table`"),
        ({"table": "x.csv"}, "did you mean 't.csv'"),
        ({"text_column": "txt"}, "data.source.text_column.*did you mean 'text'"),
        ({"split_column": "label"}, "'pos' in 'label' is no split"),
        ({"table": None, "splits": {"train": "t.csv"}, "split_column": "fold"}, "`splits` already says it"),
    ],
)
def test_what_cannot_be_is_refused(root: Path, fields: dict[str, Any], said: str):
    with pytest.raises(ConfigError, match=said):
        table(root, **fields).scan()


def test_an_empty_label_is_refused_and_an_empty_text_is_not(tree: Write):
    root = tree({"t.csv": b"text,label\n ,pos\n"})
    assert table(root).text("t.csv:00000002") == ("",)
    with pytest.raises(ConfigError, match="line 2: 'label' is empty"):
        table(tree({"t.csv": b"text,label\nx,\n"})).scan()
