"""The CSV files of tlpipe, written and read back: names from the data are never formulas of a spreadsheet.

A cell of text that begins as a formula does (OWASP, "CSV injection") is written with an apostrophe before it, unless it
is a number; so is one that begins with apostrophes and then as a formula, so that reading takes back exactly one. What
is no text is written as it is: -0.5 stays a number.
"""

import csv
import numbers
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import IO, Any

NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
FORMULA = re.compile("'*[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")
"""How a cell begins that a spreadsheet computes; the last four are the full-width forms of the first."""


class CsvWriter:
    """Writes rows to a text file that was opened with newline=""."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file
        self._rows = csv.writer(self)  # its own line ends are what makes it quote cells with a carriage return

    def write(self, line: str) -> int:
        """What the csv module gives, a line of the file."""
        return self._file.write(line.removesuffix("\r\n") + "\n")

    def row(self, cells: Iterable[object]) -> None:
        """One line of cells: numbers, texts, None for an empty cell."""
        self._rows.writerow([guarded(cell) for cell in cells])


def guarded(cell: object) -> object:
    """The cell as it is written."""
    if cell is None or isinstance(cell, numbers.Number):
        return cell
    text = str(cell)
    return f"'{text}" if FORMULA.match(text) and not NUMBER.fullmatch(text) else text


def unguarded(cell: str) -> str:
    """The cell that was written as `cell`."""
    return cell[1:] if cell.startswith("'") and FORMULA.match(cell) else cell


def write_rows(path: Path, header: Sequence[str], rows: Iterable[Iterable[Any]]) -> None:
    """A CSV file with a header."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = CsvWriter(file)
        for cells in (header, *rows):
            writer.row(cells)


def read_rows(path: Path) -> list[list[str]]:
    """The cells of each line of a file that was written here, the header first."""
    with path.open(newline="", encoding="utf-8") as file:
        return [[unguarded(cell) for cell in cells] for cells in csv.reader(file)]


def read_columns(path: Path) -> list[dict[str, str]]:
    """As `read_rows`: the cells of each line by the name of their column."""
    header, *lines = read_rows(path) or [[]]
    return [dict(zip(header, cells, strict=True)) for cells in lines]
