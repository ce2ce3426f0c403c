"""Images named by a table (CSV, TSV or Parquet) with a path and a label a line."""

import csv
import io
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import Field

from tlpipe.config import ConfigError, suggest
from tlpipe.data.base import ROLES, Sample, Source, files_below, is_image, listing
from tlpipe.data.packed import Split

Name = Annotated[str, Field(min_length=1)]
Line = dict[str, Any]


class ImageTable(Source):
    """A table in the folder `path`, with one image a line; image paths are relative to that folder."""

    kind: Literal["image_table"] = "image_table"
    table: Name
    """File name of the table inside `path`; .csv, .tsv or .parquet says how it is read."""
    image_column: Name = "image"
    label_column: Name = "label"
    split_column: Name | None = None
    """Holds train, val or test (and their usual other names); null = tlpipe makes the splits."""
    group_column: Name | None = None
    """Samples with the same value (a patient, a video) never go to different splits; null = no groups."""

    def scan(self) -> list[Sample]:
        """Every line of the table, sorted by image. Raises ConfigError naming the line of a value that cannot be."""
        lines = self._lines()
        samples = sorted(self._sample(number, line) for number, line in lines)
        root = self.root
        if samples and not any((root / sample.id).is_file() for sample in samples):
            raise ConfigError(
                f"data.source.image_column: none of the {len(samples)} files that {self.image_column!r} names exists "
                f"in {self.path} (the first is {samples[0].id!r}); paths in the table must be relative to that folder"
            )
        return samples

    def ignored(self) -> list[str]:
        """Files in the folder that the table does not name."""
        named = {sample.id for sample in self.scan()} | {self.table}
        return sorted(name for name in files_below(self.root, self.root) if name not in named)

    def _lines(self) -> list[tuple[int, Line]]:
        path = self.root / self.table
        if not path.is_file():
            there = sorted(name for name in files_below(self.root, self.root) if not is_image(name))
            raise ConfigError(f"data.source.table: {self.path} has no file {self.table!r}{suggest(self.table, there)}")
        columns, lines = _read(path)
        for field in ("image_column", "label_column", "split_column", "group_column"):
            column = getattr(self, field)
            if column is not None and column not in columns:
                raise ConfigError(f"data.source.{field}: {path} has no column {column!r}{suggest(column, columns)}")
        return list(lines)

    def _sample(self, number: int, line: Line) -> Sample:
        image = PurePosixPath(self._value(number, line, self.image_column).replace("\\", "/"))
        if image.is_absolute() or ".." in image.parts:
            raise ConfigError(
                f"{self.table}, line {number}: {str(image)!r} lies outside of {self.path}; "
                "paths must be relative to that folder, because it is what DVC tracks"
            )
        label = self._value(number, line, self.label_column)
        group = self._value(number, line, self.group_column) if self.group_column else None
        return Sample(str(image), label, self._split(number, line), group)

    def _split(self, number: int, line: Line) -> Split | None:
        if self.split_column is None:
            return None
        word = self._value(number, line, self.split_column)
        if word.lower() not in ROLES:
            raise ConfigError(
                f"{self.table}, line {number}: {word!r} in {self.split_column!r} is no split{suggest(word, ROLES)}"
            )
        return ROLES[word.lower()]

    def _value(self, number: int, line: Line, column: str) -> str:
        value = line.get(column)
        text = "" if value is None else str(value).strip()
        if not text:
            raise ConfigError(f"{self.table}, line {number}: {column!r} is empty; fill it in, or remove the line")
        return text


def _read(path: Path) -> tuple[list[str], Iterator[tuple[int, Line]]]:
    """(column names, (line number, line)); a table's first line is its header."""
    readers = {".csv": _read_text, ".tsv": _read_text, ".parquet": _read_parquet}
    if path.suffix.lower() not in readers:
        raise ConfigError(f"data.source.table: {path.name} must end in {listing(list(readers))}")
    return readers[path.suffix.lower()](path)


def _read_text(path: Path) -> tuple[list[str], Iterator[tuple[int, Line]]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"data.source.table: {path} is not UTF-8 ({error.reason}); save it as UTF-8") from None
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter="\t" if path.suffix.lower() == ".tsv" else ",")
    return list(reader.fieldnames or ()), ((reader.line_num, line) for line in reader)


def _read_parquet(path: Path) -> tuple[list[str], Iterator[tuple[int, Line]]]:
    import pyarrow
    from pyarrow import parquet

    try:
        table = parquet.read_table(path)
    except pyarrow.ArrowException as error:
        raise ConfigError(f"data.source.table: {path} is not a readable Parquet file: {error}") from None
    return table.column_names, enumerate(table.to_pylist(), start=1)
