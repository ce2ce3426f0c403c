"""CSV, TSV, JSON lines and Parquet as people have them; what cannot be read is refused with a way out."""

from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

from tlpipe.config import ConfigError
from tlpipe.data.table import Dialect, read_table

ROWS = [(2, {"text": 'say "hi", twice', "label": "a"}), (4, {"text": "two\nlines", "label": "b"})]


def write(folder: Path, name: str, content: bytes) -> Path:
    (folder / name).write_bytes(content)
    return folder / name


def test_the_formats_hold_the_same(tmp_path: Path):
    csv = write(tmp_path, "t.csv", b'\xef\xbb\xbftext,label\n"say ""hi"", twice",a\n"two\nlines",b\n\n')
    assert read_table(csv) == (["text", "label"], ROWS)
    json_lines = b'{"text": "say \\"hi\\", twice", "label": "a"}\n\n{"text": "two\\nlines", "label": "b"}\n'
    names, lines = read_table(write(tmp_path, "t.jsonl", json_lines))
    assert (names, [line for _, line in lines]) == (["text", "label"], [line for _, line in ROWS])
    parquet.write_table(pyarrow.table({name: [row[name] for _, row in ROWS] for name in names}), tmp_path / "t.parquet")
    assert [line for _, line in read_table(tmp_path / "t.parquet")[1]] == [line for _, line in ROWS]


def test_no_header_and_quotes_that_are_ordinary_characters(tmp_path: Path):
    path = write(tmp_path, "t.tsv", b'it "s , odd\t1\n"unclosed\t0\n')
    names, lines = read_table(path, Dialect(header=False, quoting="none"))
    assert names == ["1", "2"]
    assert lines == [(1, {"1": 'it "s , odd', "2": "1"}), (2, {"1": '"unclosed', "2": "0"})]


def test_other_encodings_are_read_when_they_are_named(tmp_path: Path):
    path = write(tmp_path, "t.csv", "text,label\ngröße,a\n".encode("latin-1"))
    assert read_table(path, Dialect("latin-1"))[1][0][1]["text"] == "größe"
    with pytest.raises(ConfigError, match=r"not utf-8 \(byte 13.*latin-1"):
        read_table(path)
    with pytest.raises(ConfigError, match="no encoding that Python knows"):
        read_table(path, Dialect("utf-9"))


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("t.csv", b"a,b\n1,2,3\n", "line 2: 3 fields where there are 2 columns"),
        ("t.csv", b'a,b\n"open,2\n', "set quoting to none"),
        ("t.jsonl", b'{"a": 1}\nno\n', "line 2: not JSON"),
        ("t.jsonl", b"[1]\n", "must be a JSON object"),
        ("t.parquet", b"no", "not a readable Parquet file"),
        ("t.xlsx", b"", "must end in"),
    ],
)
def test_what_cannot_be_read_is_refused(tmp_path: Path, name: str, content: bytes, said: str):
    with pytest.raises(ConfigError, match=said):
        read_table(write(tmp_path, name, content))


def test_a_long_field_is_read(tmp_path: Path):
    path = write(tmp_path, "t.csv", b"text,label\n" + b"x" * 200_000 + b",a\n")
    assert len(read_table(path)[1][0][1]["text"]) == 200_000
