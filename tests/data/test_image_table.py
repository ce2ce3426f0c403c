from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tlpipe.config import ConfigError
from tlpipe.data.base import Sample
from tlpipe.data.image_table import ImageTable

Write = Callable[[Any], Path]
CSV = b"image,label,fold,patient\nx/2.png,cat,train,p1\nx/1.png,dog,val,p2\n"


def table(root: Path, **fields: Any) -> ImageTable:
    return ImageTable(**{"path": str(root), "table": "t.csv", **fields})


@pytest.fixture
def root(tree: Write) -> Path:
    return tree({"t.csv": CSV, "x/1.png": b"1", "x/2.png": b"2", "x/3.png": b"3", "readme.md": b"hi"})


def test_path_and_label(root: Path):
    source = table(root)
    assert source.scan() == [Sample("x/1.png", "dog"), Sample("x/2.png", "cat")]
    assert source.read("x/2.png") == b"2"
    assert source.ignored() == ["readme.md", "x/3.png"]


def test_split_and_group(root: Path):
    samples = table(root, split_column="fold", group_column="patient").scan()
    assert samples == [Sample("x/1.png", "dog", "validation", "p2"), Sample("x/2.png", "cat", "train", "p1")]


def test_tab_separated_and_byte_order_mark(root: Path):
    (root / "t.tsv").write_bytes(b"\xef\xbb\xbf" + CSV.replace(b",", b"\t"))
    assert table(root, table="t.tsv").scan() == table(root).scan()


def test_quoted_line_breaks_do_not_make_lines(root: Path):
    (root / "t.csv").write_bytes(b'image,label,note\nx/1.png,a,"one\ntwo"\nx/2.png,b,\n')
    assert [sample.label for sample in table(root).scan()] == ["a", "b"]


def test_parquet_with_whole_number_labels(root: Path):
    import pyarrow
    from pyarrow import parquet

    parquet.write_table(pyarrow.table({"image": ["x/1.png", "x/2.png"], "label": [10, 9]}), root / "t.parquet")
    assert table(root, table="t.parquet").scan() == [Sample("x/1.png", "10"), Sample("x/2.png", "9")]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"table": "tt.csv"}, "no file 'tt.csv'; did you mean 't.csv'"),
        ({"table": "readme.md"}, r"must end in .csv, .tsv, .jsonl, .parquet"),
        ({"label_column": "lable"}, "no column 'lable'; did you mean 'label'"),
        ({"group_column": "id"}, "no column 'id'.* allowed: image, label, fold, patient"),
        ({"split_column": "patient"}, "line 2: 'p1' in 'patient' is no split"),
    ],
)
def test_errors_say_what_is_there(root: Path, fields: dict[str, str], message: str):
    with pytest.raises(ConfigError, match=message):
        table(root, **fields).scan()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"x/1.png,", "line 2: 'label' is empty"),
        (b"../x/1.png,a", "lies outside of"),
        (b"/etc/passwd,a", "lies outside of"),
        (b"x/9.png,a", "none of the 1 files that 'image' names exists"),
        ("x/1.png,caf\u00e9".encode("latin-1"), "is not utf-8 .byte 23.*name its encoding"),
    ],
)
def test_bad_lines_are_refused(root: Path, line: bytes, message: str):
    (root / "t.csv").write_bytes(b"image,label\n" + line + b"\n")
    with pytest.raises(ConfigError, match=message):
        table(root).scan()


def test_a_table_in_another_encoding_is_read_when_it_is_named(root: Path):
    (root / "t.csv").write_bytes("image,label\nx/1.png,caf\u00e9\n".encode("latin-1"))
    assert ImageTable(path=str(root), table="t.csv", encoding="latin-1").scan()[0].label == "caf\u00e9"
