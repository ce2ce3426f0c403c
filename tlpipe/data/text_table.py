"""Texts, or pairs of texts, in tables with a label a line."""

import json
from typing import ClassVar, Literal

from pydantic import PrivateAttr

from tlpipe.config import ConfigError
from tlpipe.data.base import Sample, files_below
from tlpipe.data.cells import Line, text_of
from tlpipe.data.labelled_table import LabelledTable, Labels, Name
from tlpipe.data.packed import Split
from tlpipe.preprocess.text import Text


class TextTable(LabelledTable):
    """One table, or one a split, in the folder `path`; a sample's id is the file's name and the line's number."""

    modality: ClassVar[Literal["image", "text"]] = "text"
    form: ClassVar[str] = "text"
    columns: ClassVar[tuple[str, ...]] = ("text_column", "pair_column", *LabelledTable.columns)

    kind: Literal["text_table"] = "text_table"
    table: Name | None = None
    """File name of the only table; .csv, .tsv, .jsonl, .parquet or .arrow says how it is read. null = see `splits`."""
    splits: dict[Literal["train", "validation", "test"], Name] | None = None
    """A table a split, such as {train: train.tsv, test: test.tsv}; null = see `table`."""
    text_column: Name = "text"
    """Name of the column of texts."""
    pair_column: Name | None = None
    """The second text of a pair; null = single texts."""
    _texts: dict[str, Text] = PrivateAttr(default_factory=dict)

    def scan(self) -> list[Sample]:
        """Every line of the tables, sorted by file and line. Raises ConfigError naming the line of what cannot be."""
        samples, labels = [], Labels(self)
        for name, split in self._tables():
            for number, line in self.lines(name):
                sample, where = f"{name}:{number:08}", f"{name}, line {number}"
                label, own, group = labels(where, line)
                self._texts[sample] = self._text(where, line)
                samples.append(Sample(sample, label, own or split, group))
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

    def _text(self, where: str, line: Line) -> Text:
        columns = (self.text_column, self.pair_column)
        return tuple(text_of(where, line, column) for column in columns if column is not None)
