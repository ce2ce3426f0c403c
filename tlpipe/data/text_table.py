"""Texts, or pairs of texts, in tables (CSV, TSV, JSON lines or Parquet) with a label a line."""

import json
from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

from pydantic import Field, PrivateAttr

from tlpipe.config import ConfigError, suggest
from tlpipe.data.base import ROLES, Sample, Source, files_below
from tlpipe.data.packed import Split
from tlpipe.data.table import Line, Quoting, read_table
from tlpipe.preprocess.text import Text

Name = Annotated[str, Field(min_length=1)]
Columns = ("text_column", "pair_column", "label_column", "split_column", "group_column")


class TextTable(Source):
    """One table, or one a split, in the folder `path`; a sample's id is the file's name and the line's number."""

    modality: ClassVar[Literal["image", "text"]] = "text"

    kind: Literal["text_table"] = "text_table"
    table: Name | None = None
    """File name of the only table; .csv, .tsv, .jsonl or .parquet says how it is read. null = see `splits`."""
    splits: dict[Literal["train", "validation", "test"], Name] | None = None
    """A table a split, such as {train: train.tsv, test: test.tsv}; null = see `table`."""
    text_column: Name = "text"
    pair_column: Name | None = None
    """The second text of a pair; null = single texts."""
    label_column: Name = "label"
    split_column: Name | None = None
    """Holds train, val or test (and their usual other names); null = tlpipe makes the splits."""
    group_column: Name | None = None
    """Samples with the same value (an author, a document) never go to different splits; null = no groups."""
    header: bool = True
    """Whether the first line names the columns; otherwise they are called "1", "2", … (CSV and TSV)."""
    quoting: Quoting = "csv"
    """csv = a field may stand in double quotes; none = quotes are ordinary characters (CSV and TSV)."""
    encoding: str = "utf-8"
    """Of CSV, TSV and JSON lines."""
    _texts: dict[str, Text] = PrivateAttr(default_factory=dict)

    def scan(self) -> list[Sample]:
        """Every line of the tables, sorted by file and line. Raises ConfigError naming the line of what cannot be."""
        samples = []
        for name, split in self._tables():
            for number, line in self._lines(name):
                sample = self._sample(name, number, line, split)
                self._texts[sample.id] = self._text(line)
                samples.append(sample)
        return sorted(samples)

    def ignored(self) -> list[str]:
        """Files in the folder that are none of the tables."""
        named = {name for name, _ in self._tables()}
        return sorted(name for name in files_below(self.root, self.root) if name not in named)

    def text(self, sample: str) -> Text:
        """The raw text, or pair of texts, of the sample with this id; empty where there is none."""
        if not self._texts:
            self.scan()
        return self._texts[sample]

    def read(self, sample: str) -> bytes:
        """The texts as a JSON list."""
        return json.dumps(self.text(sample), ensure_ascii=False).encode()

    def _tables(self) -> list[tuple[str, Split | None]]:
        if (self.table is None) is (self.splits is None):
            raise ConfigError(
                "data.source: give either `table`, the file name of one table, or `splits`, a table a split, such as "
                "{train: train.tsv, test: test.tsv}"
            )
        if self.table is not None:
            return [(self.table, None)]
        if self.split_column is not None:
            raise ConfigError("data.source.split_column: `splits` already says it, a table a split; set it to null")
        return [(name, split) for split, name in (self.splits or {}).items()]

    def _lines(self, name: str) -> Iterator[tuple[int, Line]]:
        path = self.root / name
        if not path.is_file():
            there = sorted(files_below(self.root, self.root))
            raise ConfigError(f"data.source: {self.path} has no file {name!r}{suggest(name, there)}")
        columns, lines = read_table(path, self.encoding, self.header, self.quoting)
        for field in Columns:
            column = getattr(self, field)
            if column is not None and column not in columns:
                raise ConfigError(f"data.source.{field}: {path} has no column {column!r}{suggest(column, columns)}")
        yield from lines

    def _sample(self, name: str, number: int, line: Line, split: Split | None) -> Sample:
        where = f"{name}, line {number}"
        label = _filled(where, line, self.label_column)
        if self.split_column is not None:
            word = _filled(where, line, self.split_column)
            if word.lower() not in ROLES:
                raise ConfigError(f"{where}: {word!r} in {self.split_column!r} is no split{suggest(word, ROLES)}")
            split = ROLES[word.lower()]
        group = _filled(where, line, self.group_column) if self.group_column else None
        return Sample(f"{name}:{number:08}", label, split, group)

    def _text(self, line: Line) -> Text:
        columns = (self.text_column, self.pair_column)
        return tuple(_plain(line.get(column)) for column in columns if column is not None)


def _plain(value: object) -> str:
    return "" if value is None else str(value).strip()


def _filled(where: str, line: Line, column: str) -> str:
    value = _plain(line.get(column))
    if not value:
        raise ConfigError(f"{where}: {column!r} is empty; fill it in, or remove the line")
    return value
