"""CSV files keep every cell, and give a spreadsheet nothing to compute."""

import csv
import re
from pathlib import Path

import numpy as np
import pytest

from tlpipe.csv_files import guarded, read_columns, read_rows, unguarded, write_rows

PACKAGE = Path(__file__).resolve().parents[1] / "tlpipe"
FORMULAS = (
    "=1+1", '=HYPERLINK("http://x","y")', "+cmd|' /C calc'!A0", "-2+3", "@SUM(1)", "\tx", "\r=1", "\n=1", "\uff1d1",
    "-", "+", "--1", "-0.5.1", "'=1", "''=1", "-1e", "-infinity", "-\u0663",
)  # fmt: skip
PLAIN = ("", "a", "'", "'a", "a=b", "0", "-0.5", "+3", "-1e-05", "-.5", "1-2", " =1", "a\rb", 'a"b,c\nd', "café")


@pytest.mark.parametrize("cell", FORMULAS)
def test_a_formula_is_written_as_text_and_read_back(cell: str):
    assert guarded(cell) == f"'{cell}"
    assert unguarded(f"'{cell}") == cell


@pytest.mark.parametrize("cell", PLAIN)
def test_all_else_is_written_as_it_is(cell: str):
    assert guarded(cell) == unguarded(cell) == cell


def test_numbers_stay_numbers(tmp_path: Path):
    cells = (-1, -0.5, np.float32(-0.25), np.int64(-3), float("-inf"), None)
    write_rows(tmp_path / "a.csv", list("abcdef"), [cells])
    assert (tmp_path / "a.csv").read_text() == "a,b,c,d,e,f\n-1,-0.5,-0.25,-3,-inf,\n"


def test_a_file_keeps_every_cell_and_begins_none_as_a_formula(tmp_path: Path):
    path, cells = tmp_path / "a.csv", [*FORMULAS, *PLAIN]
    write_rows(path, cells, [cells, cells[::-1]])
    assert read_rows(path) == [cells, cells, cells[::-1]]
    with path.open(newline="", encoding="utf-8") as file:
        raw = [cell for line in csv.reader(file) for cell in line]
    bare = [cell for cell in raw if re.match("[=+\\-@\t\r\n\uff1d]", cell)]
    assert sorted(set(bare)) == ["+3", "-.5", "-0.5", "-1e-05"]


def test_columns_by_name(tmp_path: Path):
    write_rows(tmp_path / "a.csv", ("=a", "b"), [("@x", 1)])
    assert read_columns(tmp_path / "a.csv") == [{"=a": "@x", "b": "1"}]


def test_nothing_else_writes_csv():
    writers = [path for path in PACKAGE.rglob("*.py") if re.search(r"csv\.(Dict)?[wW]riter", path.read_text())]
    assert writers == [PACKAGE / "csv_files.py"]
