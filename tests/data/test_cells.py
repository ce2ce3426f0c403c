"""What is no text does not become text, and what is no name no class: each refusal has the row."""

import json
import os
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet

from tlpipe.config import ConfigError
from tlpipe.data.cells import MISSING, Names, read_json, require_name, text_of
from tlpipe.data.label_notes import label_notes
from tlpipe.data.table import Dialect, read_table
from tlpipe.data.text_table import TextTable

NAN = float("nan")


def scan(folder: Path, rows: list[Any], **settings: Any) -> list[str]:
    """The labels of JSON lines: whole rows, or labels."""
    lines = [row if isinstance(row, dict) else {"text": f"t{n}", "label": row} for n, row in enumerate(rows)]
    (folder / "t.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return [sample.label for sample in TextTable(path=str(folder), table="t.jsonl", **settings).scan()]


@pytest.mark.parametrize(
    ("label", "what"),
    [
        (NAN, "'label' is not a number; fill it in"),
        (None, "'label' is empty"),
        ("  ", "'label' is empty"),
        (["a", "b"], "a list of 2.*one label here, not several"),
        (["a"], "a list of 1"),
        ({"text": "t", "label": {"a": 1}}, "a mapping"),
        (0.5, "the number 0.5, which names no class.*regression"),
        (float("inf"), "the number inf"),
        (True, r"true or false here \(True\) and text in t.jsonl, line 1"),
        (1, r"whole numbers here \(1\) and text in t.jsonl, line 1"),
        ("a\nb", "a line break in the name"),
        ("a\x07", "the control character"),
        ("\ud83d", r"half of a surrogate pair \(\\ud83d\) at character 1"),
        ("NaN", "or does it mean that there is none.*data.source.missing"),
        ("N/A", "or does it mean that there is none"),
        ("x" * 70_000, "70,000 characters are no name"),
    ],
)
def test_a_label_that_is_no_name_is_refused_with_its_row(tmp_path: Path, label: object, what: str):
    with pytest.raises(ConfigError, match=rf"^t.jsonl, line 3: .*{what}") as caught:
        scan(tmp_path, ["pos", "neg", label])
    assert len(str(caught.value)) < 500


def test_numbers_that_are_equal_are_one_class(tmp_path: Path):
    assert set(scan(tmp_path, [1, 1.0, 0, 0.0])) == {"0", "1"}
    assert set(scan(tmp_path, [True, False])) == {"true", "false"}
    with pytest.raises(ConfigError, match="write the whole column in one way"):
        scan(tmp_path, [1, 1.0, "1", True])


def test_a_word_for_nothing_is_a_name_where_that_is_said(tmp_path: Path):
    assert scan(tmp_path, ["NA", "EU"], missing=()) == ["NA", "EU"]


@pytest.mark.parametrize("value", [["x", "y"], {"a": 1}, 5, True, 0.5])
def test_a_text_that_is_none_is_refused_with_its_row(tmp_path: Path, value: object):
    with pytest.raises(ConfigError, match=r"^t.jsonl, line 2: 'text' must hold text, and this is "):
        scan(tmp_path, ["a", {"text": value, "label": "b"}])


def test_half_of_a_surrogate_pair_is_refused_with_its_row(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"^t.jsonl, line 1: 'text' has half of a surrogate pair .* after 'hm '"):
        scan(tmp_path, [{"text": "hm \ud83d", "label": "b"}])


def test_a_missing_text_is_empty():
    assert [text_of("here", {"text": value}, "text") for value in (None, NAN, " ", " a ")] == ["", "", "", "a"]
    with pytest.raises(ConfigError, match="bytes"):
        text_of("here", {"text": b"a"}, "text")


def test_groups_may_be_dates_and_are_never_missing(tmp_path: Path):
    groups = Names("day", MISSING, dates=True)
    assert groups("row 1", {"day": date(2026, 1, 2)}) == "2026-01-02"
    with pytest.raises(ConfigError, match="dates in row 1"):
        groups("row 2", {"day": 3})
    assert Names("n")("row 1", {"n": Decimal("2.0")}) == "2"
    with pytest.raises(ConfigError, match="'who' is not a number"):
        scan(tmp_path, [{"text": "a", "label": "b", "who": NAN}], group_column="who")


def table(folder: Path, labels: Any, metadata: dict[str, str] | None = None) -> Path:
    content = pyarrow.table({"text": [f"t{n}" for n in range(len(labels))], "label": labels})
    parquet.write_table(content.replace_schema_metadata(metadata), folder / "t.parquet")
    return folder / "t.parquet"


def test_class_labels_of_hugging_face_keep_their_names(tmp_path: Path):
    about = {"info": {"features": {"label": {"names": ["neg", "pos"], "_type": "ClassLabel"}, "text": {"dtype": "s"}}}}
    hugging = {"huggingface": json.dumps(about)}
    table(tmp_path, [1, 0], hugging)
    source = TextTable(path=str(tmp_path), table="t.parquet")
    assert [sample.label for sample in source.scan()] == ["pos", "neg"]
    table(tmp_path, [1, -1], hugging)
    with pytest.raises(ConfigError, match="line 2: 'label' is empty"):
        source.scan()
    table(tmp_path, [1, 2], hugging)
    with pytest.raises(ConfigError, match="row 2: 'label' is class number 2, and the file names 2 classes"):
        source.scan()
    (tmp_path / "saved").mkdir()
    content = pyarrow.table({"text": ["a", "b"], "label": [0, 1]}).replace_schema_metadata(hugging)
    with pyarrow.ipc.new_stream(tmp_path / "saved" / "data-0.arrow", content.schema) as stream:
        stream.write_table(content)
    (tmp_path / "saved" / "state.json").write_text('{"_data_files": [{"filename": "data-0.arrow"}]}')
    saved = TextTable(path=str(tmp_path), table="saved").scan()
    assert [sample.label for sample in saved] == ["neg", "pos"]


@pytest.mark.parametrize(("label", "what"), [(NAN, "is not a number"), (b"x", "is bytes"), ([1, 2], "a list of 2")])
def test_columns_of_other_types_are_refused(tmp_path: Path, label: object, what: str):
    table(tmp_path, [label, label])
    with pytest.raises(ConfigError, match=f"t.parquet, line 1: 'label'.* {what}"):
        TextTable(path=str(tmp_path), table="t.parquet").scan()


def test_names_that_are_there_twice(tmp_path: Path):
    (tmp_path / "t.csv").write_text("text,text,label\na,b,c\n")
    with pytest.raises(ConfigError, match=r"the column 'text' is there 2 times \(numbers 1, 2\)"):
        read_table(tmp_path / "t.csv")
    (tmp_path / "t.csv").write_text("text,label,,\na,b,,\n")
    assert read_table(tmp_path / "t.csv")[0] == ["text", "label", "", ""]
    (tmp_path / "t.jsonl").write_text('{"text": "a", "label": "b", "label": "c"}\n')
    with pytest.raises(ConfigError, match=r"line 1: the key 'label' is there 2 times \(numbers 2, 3\)"):
        read_table(tmp_path / "t.jsonl")
    twice = pyarrow.Table.from_arrays([pyarrow.array(["a"])] * 2, names=["text", "text"])
    parquet.write_table(twice, tmp_path / "t.parquet")
    with pytest.raises(ConfigError, match="the column 'text' is there 2 times"):
        read_table(tmp_path / "t.parquet")


def test_another_separator_is_named_and_then_read(tmp_path: Path):
    for delimiter, written in ((";", ";"), ("\t", r"\\t"), ("|", r"\|")):
        (tmp_path / "t.csv").write_text(f'text{delimiter}label\n"a, b"{delimiter}c\n')
        with pytest.raises(ConfigError, match=f'separator looks like .* set data.source.delimiter to "{written}"'):
            read_table(tmp_path / "t.csv")
        read = read_table(tmp_path / "t.csv", Dialect(delimiter=delimiter))
        assert read == (["text", "label"], [(2, {"text": "a, b", "label": "c"})])


@pytest.mark.parametrize(
    ("name", "way"),
    [("t.xlsx", "read_excel"), ("t.json", "orient='records'"), ("t.csv.gz", "gunzip"), ("t.txt", "t.tsv")],
)
def test_the_conversion_of_what_is_not_read_is_named(tmp_path: Path, name: str, way: str):
    with pytest.raises(ConfigError, match=f"must end in .*{way}"):
        read_table(tmp_path / name)


def test_json_without_end_is_refused():
    with pytest.raises(ConfigError, match="here: not JSON that can be read: it is nested too deeply"):
        read_json("here", "[" * 100_000)


@pytest.mark.parametrize(
    ("classes", "note"),
    [
        (("HUM", "hum"), "'HUM', 'hum' differ in spelling alone"),
        (("caf\u00e9", "cafe\u0301"), "differ in spelling alone"),
        (("cat", "cat\u200b"), "cat\\u200b"),
        (("cat", "dog", "dog,furry"), "1 of the classes look like labels joined with ',' (dog,furry)"),
        (("0.5", "1.5"), "a regression"),
        (tuple(map(str, range(30))), "all 30 classes are numbers"),
    ],
)
def test_odd_names_are_said(classes: tuple[str, ...], note: str):
    assert len(label_notes(classes)) == 1
    assert note in label_notes(classes)[0]


def test_names_that_are_fine_are_passed_over():
    assert not label_notes(("Bangkok, Thailand", "Paris, France", "cat", "B-PER", "I-PER", "0", "1"))
    assert not label_notes(tuple(map(str, range(10))))


def test_whole_numbers_of_any_length_are_names(tmp_path: Path):
    assert scan(tmp_path, [10**400, 1]) == [str(10**400), "1"]
    assert scan(tmp_path, [{"text": "x", "label": "a", "g": 10**400}], group_column="g") == ["a"]
    with pytest.raises(ConfigError, match="line 1: 'label': 601 characters are no name"):
        scan(tmp_path, [10**600])
    with pytest.raises(ConfigError, match="'text' must hold text, and this is a number"):
        scan(tmp_path, [{"text": 10**400, "label": "a"}])


def test_a_name_that_is_not_utf8_is_no_half_of_utf16():
    with pytest.raises(ConfigError, match=r"a byte that is not UTF-8 \(0xff\) or half of a surrogate pair"):
        require_name("the folder x", os.fsdecode(b"caf\xff"))


def test_class_numbers_that_stand_for_one_name_are_refused(tmp_path: Path):
    features = {"label": {"names": ["neg", "neg"], "_type": "ClassLabel"}}
    table = pyarrow.table({"text": ["x", "y"], "label": [0, 1]})
    about = {"huggingface": json.dumps({"info": {"features": features}})}
    parquet.write_table(table.replace_schema_metadata(about), tmp_path / "a.parquet")
    with pytest.raises(ConfigError, match="the class name 'neg' is there 2 times"):
        TextTable(path=str(tmp_path), table="a.parquet").scan()


@pytest.mark.parametrize("state", ["{}", "[1]", '{"_data_files": []}', '{"_data_files": [3]}', "5"])
def test_a_saved_dataset_that_names_no_rows_is_refused(tmp_path: Path, state: str):
    (tmp_path / "ds").mkdir()
    (tmp_path / "ds/state.json").write_text(state)
    with pytest.raises(ConfigError, match="names no files with rows"):
        TextTable(path=str(tmp_path), table="ds").scan()


def test_a_saved_dataset_of_several_splits_names_them(tmp_path: Path):
    for split in ("train", "test"):
        (tmp_path / "ds" / split).mkdir(parents=True)
        (tmp_path / "ds" / split / "state.json").write_text("{}")
    (tmp_path / "ds/dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    with pytest.raises(ConfigError, match=r"a table of its own \(ds/test, ds/train\): name one"):
        TextTable(path=str(tmp_path), table="ds").scan()


def test_headers_that_differ_in_a_space_are_one(tmp_path: Path):
    (tmp_path / "a.csv").write_text("text,label,label \nx,a,b\n")
    with pytest.raises(ConfigError, match="the column 'label' is there 2 times"):
        TextTable(path=str(tmp_path), table="a.csv").scan()
