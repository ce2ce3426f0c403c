"""Tables as people have them: CSV, TSV, JSON lines, Parquet or Arrow, read the same way whatever they hold."""

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tlpipe.config import ConfigError, suggest
from tlpipe.data.base import ROLES, files_below, is_image, listing
from tlpipe.data.cells import Line, read_json, require_unlike, text_of
from tlpipe.data.columnar import is_saved_dataset, read_columnar, require_one_split
from tlpipe.data.packed import Split
from tlpipe.files import read_file

Table = tuple[list[str], list[tuple[int, Line]]]
"""Column names, and (line number from 1, values by column) of every line that is not empty."""
Quoting = Literal["csv", "none"]
LARGEST_FIELD = 2**24
"""Characters of one field; Python's own limit of 131,072 is less than a long document."""
SEPARATORS = {".csv": ",", ".tsv": "\t"}
"""What separates the fields where nothing else is said."""
DELIMITERS = (",", ";", "\t", "|")
COLUMNAR = (".parquet", ".arrow", ".feather")
CONVERSIONS = {
    ".xlsx": "save it as CSV (UTF-8) in the spreadsheet program, or "
    "python -c \"import pandas; pandas.read_excel('{name}').to_csv('{stem}.csv', index=False)\"",
    ".json": "python -c \"import pandas; pandas.read_json('{name}').to_json('{stem}.jsonl', orient='records', "
    'lines=True, force_ascii=False)"',
    ".gz": "gunzip '{name}'",
    ".zip": "unzip '{name}'",
    ".txt": "rename it to {stem}.csv, or to {stem}.tsv if tabs separate its columns",
    ".ndjson": "rename it to {stem}.jsonl",
    ".pkl": "python -c \"import pandas; pandas.read_pickle('{name}').to_parquet('{stem}.parquet')\" if you trust it",
}
CONVERSIONS |= dict.fromkeys((".xls", ".xlsm", ".ods"), CONVERSIONS[".xlsx"])
"""By ending, how a file that is not read becomes one that is."""


@dataclass(frozen=True)
class Dialect:
    """How a file of text is to be read."""

    encoding: str = "utf-8"
    """A byte order mark at the beginning is passed over."""
    header: bool = True
    """Whether the first line names the columns; otherwise they are called "1", "2", … (CSV and TSV only)."""
    quoting: Quoting = "csv"
    """`csv` = fields may stand in double quotes; `none` = quotes are ordinary characters (CSV and TSV only)."""
    delimiter: str | None = None
    """Between fields; None = a comma in .csv, a tab in .tsv."""


def read_lines(
    root: Path, name: str, columns: Mapping[str, str | None], dialect: Dialect | None = None
) -> list[tuple[int, Line]]:
    """The lines of table `name` in the folder `root`, which must have `columns` (by the setting that names them).

    Raises:
        ConfigError: As `read_table`, and when the table or a column is not there.
    """
    path = root / name
    require_one_split(path, name)
    if not path.is_file() and not is_saved_dataset(path):
        there = sorted(name for name in files_below(root, root) if not is_image(name))
        raise ConfigError(f"data.source.table: {root} has no file {name!r}{suggest(name, there)}")
    there, lines = read_table(path, dialect)
    for field, column in columns.items():
        if column is not None and column not in there:
            raise ConfigError(f"data.source.{field}: {path} has no column {column!r}{suggest(column, there)}")
    return lines


def split_of(where: str, line: Line, column: str) -> Split:
    """The split that a cell names. Raises ConfigError for a word that is none."""
    word = text_of(where, line, column)
    if word.lower() not in ROLES:
        raise ConfigError(f"{where}: {word!r} in {column!r} is no split{suggest(word, ROLES)}")
    return ROLES[word.lower()]


def read_table(path: Path, dialect: Dialect | None = None) -> Table:
    """A table; what it is follows from the name's ending. A folder that Hugging Face's `save_to_disk` wrote is one too.

    Raises:
        ConfigError: For an unknown ending, undecodable bytes, a broken file, lines of unequal length, or two columns of
            one name.
    """
    dialect, ending = dialect or Dialect(), path.suffix.lower()
    if ending in COLUMNAR or is_saved_dataset(path):
        return read_columnar(path)
    if ending == ".jsonl":
        return json_lines(path, decoded(path, dialect.encoding))
    if ending in SEPARATORS:
        return _separated(path, decoded(path, dialect.encoding), dialect)
    way = CONVERSIONS.get(ending, "convert it")
    do = way.format(name=path.name, stem=path.name.removesuffix(path.suffix))
    raise ConfigError(f"{path} must end in {listing([*SEPARATORS, '.jsonl', *COLUMNAR])}: {do}")


def decoded(path: Path, encoding: str) -> str:
    """A file's text, without a byte order mark. Raises ConfigError for bytes that are not of the encoding."""
    raw = read_file(path)
    try:
        return raw.decode(encoding).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        hint = "utf-16" if raw.startswith((b"\xff\xfe", b"\xfe\xff")) else "latin-1 or cp1252"
        raise ConfigError(
            f"{path} is not {encoding} (byte {error.start:,}: {error.reason}); save it as UTF-8, or name its encoding "
            f"(data.source.encoding), such as {hint}"
        ) from None
    except (LookupError, ValueError):
        raise ConfigError(f"{encoding!r} is no encoding that Python knows; use utf-8, latin-1, cp1252, …") from None


def _separated(path: Path, text: str, dialect: Dialect) -> Table:
    delimiter = dialect.delimiter or SEPARATORS[path.suffix.lower()]
    _require_separator(path, text, delimiter)
    csv.field_size_limit(LARGEST_FIELD)
    quoted = dialect.quoting == "csv"
    quotes: Literal[0, 3] = csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, quoting=quotes, strict=quoted)
    try:
        lines = [(reader.line_num, fields) for fields in reader if fields]
    except csv.Error as error:
        raise ConfigError(
            f"{path}, line {reader.line_num}: {error}; if quotes are ordinary characters here, set quoting to none"
        ) from None
    names = (lines.pop(0)[1] if dialect.header else [str(n + 1) for n in range(len(lines[0][1]))]) if lines else []
    require_unlike(str(path), [name.strip() for name in names], "the column")
    for number, fields in lines:
        if len(fields) != len(names):
            raise ConfigError(
                f"{path}, line {number}: {len(fields)} fields where there are {len(names)} columns; a field that "
                "holds the separator needs double quotes, and quotes that are ordinary characters need quoting: none"
            )
    return names, [(number, dict(zip(names, fields, strict=True))) for number, fields in lines]


def _require_separator(path: Path, text: str, delimiter: str) -> None:
    """Raise ConfigError where another separator than `delimiter` is the one that cuts the first line into columns."""
    first = text.lstrip("\r\n").partition("\n")[0]
    if delimiter in first:
        return
    likely = max(DELIMITERS, key=first.count)
    if likely in first:
        named, written = ("a tab", "\\t") if likely == "\t" else (repr(likely), likely)
        raise ConfigError(
            f"{path}, line 1: the separator looks like {named}, and {delimiter!r} is expected: set "
            f'data.source.delimiter to "{written}"'
        )


def json_lines(path: Path, text: str) -> Table:
    """The objects of JSON lines, with their lines' numbers; `path` is for messages. Raises ConfigError."""
    lines: list[tuple[int, Line]] = []
    for number, line in enumerate(io.StringIO(text), start=1):
        if not line.strip():
            continue
        value = read_json(f"{path}, line {number}", line)
        if not isinstance(value, dict):
            raise ConfigError(f'{path}, line {number}: each line must be a JSON object, such as {{"text": "…"}}')
        lines.append((number, value))
    return list(dict.fromkeys(name for _, line in lines for name in line)), lines
