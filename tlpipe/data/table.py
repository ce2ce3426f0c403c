"""Tables as people have them: CSV, TSV, JSON lines or Parquet, read the same way whatever they hold."""

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from tlpipe.config import ConfigError, suggest
from tlpipe.data.base import ROLES, files_below, is_image, listing
from tlpipe.data.packed import Split

Line = dict[str, Any]
Table = tuple[list[str], list[tuple[int, Line]]]
"""Column names, and (line number from 1, values by column) of every line that is not empty."""
Quoting = Literal["csv", "none"]
LARGEST_FIELD = 2**24
"""Characters of one field; Python's own limit of 131,072 is less than a long document."""


def read_lines(
    root: Path,
    name: str,
    columns: Mapping[str, str | None],
    encoding: str = "utf-8",
    header: bool = True,
    quoting: Quoting = "csv",
) -> list[tuple[int, Line]]:
    """The lines of table `name` in the folder `root`, which must have `columns` (by the setting that names them).

    Raises:
        ConfigError: As `read_table`, and when the table or a column is not there.
    """
    path = root / name
    if not path.is_file():
        there = sorted(name for name in files_below(root, root) if not is_image(name))
        raise ConfigError(f"data.source.table: {root} has no file {name!r}{suggest(name, there)}")
    there, lines = read_table(path, encoding, header, quoting)
    for field, column in columns.items():
        if column is not None and column not in there:
            raise ConfigError(f"data.source.{field}: {path} has no column {column!r}{suggest(column, there)}")
    return lines


def plain(value: object) -> str:
    """A cell as text, without white space around it; empty where there is nothing."""
    return "" if value is None else str(value).strip()


def filled(where: str, line: Line, column: str) -> str:
    """A cell that must hold something. Raises ConfigError, which says `where` it does not."""
    value = plain(line.get(column))
    if not value:
        raise ConfigError(f"{where}: {column!r} is empty; fill it in, or remove the line")
    return value


def split_of(where: str, line: Line, column: str) -> Split:
    """The split that a cell names. Raises ConfigError for a word that is none."""
    word = filled(where, line, column)
    if word.lower() not in ROLES:
        raise ConfigError(f"{where}: {word!r} in {column!r} is no split{suggest(word, ROLES)}")
    return ROLES[word.lower()]


def read_table(path: Path, encoding: str = "utf-8", header: bool = True, quoting: Quoting = "csv") -> Table:
    """A table; what it is follows from the name's ending.

    Args:
        path: A .csv, .tsv, .jsonl or .parquet file.
        encoding: Of the text formats; a byte order mark at the beginning is passed over.
        header: Whether the first line names the columns; otherwise they are called "1", "2", … (CSV and TSV only).
        quoting: `csv` = fields may stand in double quotes; `none` = quotes are ordinary characters (CSV and TSV only).

    Raises:
        ConfigError: For an unknown ending, undecodable bytes, broken JSON or Parquet, or lines of unequal length.
    """
    ending = path.suffix.lower()
    if ending == ".parquet":
        return _parquet(path)
    readers: dict[str, Callable[[str], Table]] = {
        ".csv": lambda text: _separated(path, text, ",", header, quoting),
        ".tsv": lambda text: _separated(path, text, "\t", header, quoting),
        ".jsonl": lambda text: json_lines(path, text),
    }
    if ending not in readers:
        raise ConfigError(f"{path} must end in {listing([*readers, '.parquet'])}")
    return readers[ending](decoded(path, encoding))


def decoded(path: Path, encoding: str) -> str:
    """A file's text, without a byte order mark. Raises ConfigError for bytes that are not of the encoding."""
    try:
        return path.read_bytes().decode(encoding).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{path} is not {encoding} (byte {error.start:,}: {error.reason}); save it as UTF-8, or name its encoding, "
            "such as latin-1 or cp1252"
        ) from None
    except LookupError:
        raise ConfigError(f"{encoding!r} is no encoding that Python knows; use utf-8, latin-1, cp1252, …") from None


def _separated(path: Path, text: str, delimiter: str, header: bool, quoting: Quoting) -> Table:
    csv.field_size_limit(LARGEST_FIELD)
    quotes: Literal[0, 3] = csv.QUOTE_MINIMAL if quoting == "csv" else csv.QUOTE_NONE
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, quoting=quotes, strict=quoting == "csv")
    try:
        lines = [(reader.line_num, fields) for fields in reader if fields]
    except csv.Error as error:
        raise ConfigError(
            f"{path}, line {reader.line_num}: {error}; if quotes are ordinary characters here, set quoting to none"
        ) from None
    names = (lines.pop(0)[1] if header else [str(n + 1) for n in range(len(lines[0][1]))]) if lines else []
    for number, fields in lines:
        if len(fields) != len(names):
            raise ConfigError(
                f"{path}, line {number}: {len(fields)} fields where there are {len(names)} columns; a field that "
                "holds the separator needs double quotes, and quotes that are ordinary characters need quoting: none"
            )
    return names, [(number, dict(zip(names, fields, strict=True))) for number, fields in lines]


def json_lines(path: Path, text: str) -> Table:
    """The objects of JSON lines, with their lines' numbers; `path` is for messages. Raises ConfigError."""
    lines: list[tuple[int, Line]] = []
    for number, line in enumerate(io.StringIO(text), start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except ValueError as error:
            raise ConfigError(f"{path}, line {number}: not JSON ({error})") from None
        if not isinstance(value, dict):
            raise ConfigError(f'{path}, line {number}: each line must be a JSON object, such as {{"text": "…"}}')
        lines.append((number, value))
    return list(dict.fromkeys(name for _, line in lines for name in line)), lines


def _parquet(path: Path) -> Table:
    import pyarrow
    from pyarrow import parquet

    try:
        table = parquet.read_table(path)
    except pyarrow.ArrowException as error:
        raise ConfigError(f"{path} is not a readable Parquet file: {error}") from None
    rows: Iterator[tuple[int, Line]] = iter(enumerate(table.to_pylist(), start=1))
    return list(table.column_names), list(rows)
