"""Texts, or pairs of texts, in tables (CSV, TSV, JSON lines or Parquet) with a label a line."""

import json
from typing import Annotated, ClassVar, Literal

from pydantic import Field, PrivateAttr

from tlpipe.config import ConfigError
from tlpipe.data.base import Sample, Source, files_below
from tlpipe.data.packed import Split
from tlpipe.data.table import Line, Quoting, filled, plain, read_lines, split_of
from tlpipe.preprocess.text import Text

Name = Annotated[str, Field(min_length=1)]
COLUMNS = ("text_column", "pair_column", "label_column", "split_column", "group_column")


class TextTable(Source):
    """One table, or one a split, in the folder `path`; a sample's id is the file's name and the line's number."""

    modality: ClassVar[Literal["image", "text"]] = "text"
    form: ClassVar[str] = "text"

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

    def _lines(self, name: str) -> list[tuple[int, Line]]:
        columns = {field: getattr(self, field) for field in COLUMNS}
        return read_lines(self.root, name, columns, self.encoding, self.header, self.quoting)

    def _sample(self, name: str, number: int, line: Line, split: Split | None) -> Sample:
        where = f"{name}, line {number}"
        label = filled(where, line, self.label_column)
        if self.split_column is not None:
            split = split_of(where, line, self.split_column)
        group = filled(where, line, self.group_column) if self.group_column else None
        return Sample(f"{name}:{number:08}", label, split, group)

    def _text(self, line: Line) -> Text:
        columns = (self.text_column, self.pair_column)
        return tuple(plain(line.get(column)) for column in columns if column is not None)
