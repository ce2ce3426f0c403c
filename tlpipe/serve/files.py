"""Predictions for files: a folder or a JSONL file of any size, one line a sample, in constant memory."""

import json
import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, tee
from pathlib import Path
from typing import IO, Any, Literal

from tlpipe.config import ConfigError, suggest
from tlpipe.csv_files import CsvWriter
from tlpipe.data.table import read_table
from tlpipe.serve.http.request_body import parse_json
from tlpipe.serve.predictor import Predictor
from tlpipe.serve.reading import Answer, BadInput

Format = Literal["csv", "jsonl"]
LINES = ".jsonl"
"""Ending of the files of which each line is a sample."""
OPTIONAL = "pair"
"""The part of a sample that may be missing."""
TABLES = frozenset((".csv", ".tsv", ".parquet"))
"""Endings of the tables of samples, which are read whole, as in training."""
LONGEST_LINE = 2**26
"""Bytes."""
Columns = Mapping[str, str]
"""What holds a sample in a table or in an object of JSON lines: the column, by what a client calls it."""


@dataclass
class Counts:
    """How many samples were answered, and how many could not be used."""

    answered: int = 0
    bad: int = 0


def found(paths: Sequence[Path], endings: Collection[str], out: Path | None = None) -> Iterator[Path]:
    """The files that `paths` name, and those of their folders that can be read, as the system lists them.

    Args:
        paths: Files of any name, and folders.
        endings: In lower case, as of `Reading.endings`.
        out: Where the answers go: left out, as it would be read while it grows.

    Raises:
        ConfigError: Before the first file, when one of `paths` does not exist, or there is no file.
    """
    for path in paths:
        if not path.exists():
            raise ConfigError(f"{path} does not exist; give files or folders")
    every = (each for path in paths for each in (_walk(path, endings) if path.is_dir() else (path,)))
    files = (each for each in every if not (out and out.name == each.name and _same(out, each)))
    first = next(files, None)
    if first is None:
        named = ", ".join(map(str, paths))
        raise ConfigError(f"no file to answer for in {named}; folders are searched for {', '.join(sorted(endings))}")
    return chain((first,), files)


def _same(one: Path, other: Path) -> bool:
    return one.resolve() == other.resolve()


def _walk(folder: Path, endings: Collection[str]) -> Iterator[Path]:
    # os.walk and sorted() hold a whole folder's names; scandir holds one.
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    yield from _walk(Path(entry.path), endings)
                elif os.path.splitext(entry.name)[1].lower() in endings:
                    yield Path(entry.path)
    except PermissionError:
        yield folder


def columns(cells: Sequence[str], first: str | None = None, second: str | None = None) -> Columns:
    """The columns of a sample whose parts are called `cells` where others than these names are given.

    Raises:
        ConfigError: When a column is named that no sample of this task has.
    """
    given = (first, second)
    for name, option in zip(given[len(cells) :], ("--text-column", "--pair-column")[len(cells) :], strict=True):
        if name is not None:
            raise ConfigError(f"{option} {name}: samples of this model have no such part; leave it out")
    return {cell: name or cell for cell, name in zip(cells, given, strict=False)}


def predict_files(
    predictor: Predictor, paths: Iterable[Path], named: Columns | None = None
) -> Iterator[tuple[str, Answer | BadInput]]:
    """(name, answer or the reason why there is none), in the order of `paths`.

    A file is a sample, named by its path. Of a .jsonl file each line is one, JSON as `/predict` takes it, and of a
    table (CSV, TSV, Parquet) of texts each row, named by its number besides; what else a row or an object holds, such
    as a label, is passed over. `named` says in which columns, by default those that `Reading.cells_in` names.

    Raises:
        ConfigError: For a table that cannot be read, or that lacks a column.
    """
    where = columns(predictor.loaded.reading.cells_in) if named is None else named
    names, items = tee(each for path in paths for each in _samples(path, where))
    yield from zip((name for name, _ in names), predictor.stream(item for _, item in items), strict=True)


def _samples(path: Path, where: Columns) -> Iterator[tuple[str, Any]]:
    ending = path.suffix.lower()
    if where and ending in TABLES:
        yield from _rows(path, where)
    elif ending == LINES:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield f"{path}:{number}", _picked(_parsed(line), where)
    else:
        yield str(path), path


def _rows(path: Path, where: Columns) -> Iterator[tuple[str, Any]]:
    there, lines = read_table(path)
    for cell, column in where.items():
        if column not in there and not (cell == OPTIONAL and column == OPTIONAL):
            option = "--text-column" if cell == next(iter(where)) else "--pair-column"
            raise ConfigError(f"{path} has no column {column!r}{suggest(column, there)}; name it with {option}")
    for number, line in lines:
        yield f"{path}:{number}", _picked(line, where)


def _picked(item: Any, where: Columns) -> Any:
    """The parts of a sample alone, where an object or a row holds more."""
    if not isinstance(item, dict) or not where or next(iter(where.values())) not in item:
        return item
    return {cell: item[column] for cell, column in where.items() if column in item}


def _parsed(line: bytes) -> Any:
    try:
        return parse_json(line, LONGEST_LINE)
    except BadInput as error:
        return error


def write(
    file: IO[str],
    results: Iterable[tuple[str, Answer | BadInput]],
    predictor: Predictor,
    form: Format,
    every: bool,
) -> Iterator[Counts]:
    """Write a line a sample, and yield the counts so far after each.

    CSV has `path`, the task's columns (`every` adds one a class) and `error`, each guarded as in `tlpipe.csv_files`;
    JSONL has the same as keys, unguarded.
    """
    reading, counts = predictor.loaded.reading, Counts()
    header = reading.columns(every)
    table = CsvWriter(file)
    if form == "csv":
        table.row(["path", *header, "error"])
    for path, answer in results:
        bad = isinstance(answer, BadInput)
        counts.bad, counts.answered = counts.bad + bad, counts.answered + (not bad)
        if form == "jsonl":
            content = {"error": str(answer)} if isinstance(answer, BadInput) else answer
            file.write(json.dumps({"path": path, **content}, ensure_ascii=False) + "\n")
        else:
            cells = [""] * len(header) if isinstance(answer, BadInput) else reading.cells(answer)[: len(header)]
            table.row([path, *cells, answer if bad else ""])
        yield counts
