"""What sources that are tables share: how the file is read, and the columns with a sample's label, split and group."""

from typing import Annotated, ClassVar

from pydantic import Field, model_validator

from tlpipe.data.base import Source
from tlpipe.data.cells import MISSING, Line, Names
from tlpipe.data.packed import Split
from tlpipe.data.table import Dialect, Quoting, read_lines, split_of

Name = Annotated[str, Field(min_length=1)]


class LabelledTable(Source):
    """A table with a sample a line."""

    columns: ClassVar[tuple[str, ...]] = ("label_column", "split_column", "group_column")
    """Fields that name a column which must be there."""

    label_column: Name = "label"
    """Name of the column of labels."""
    split_column: Name | None = None
    """Holds train, val or test (and their usual other names); null = tlpipe makes the splits."""
    group_column: Name | None = None
    """Samples with the same value (a patient, an author) never go to different splits; null = no groups."""
    missing: tuple[str, ...] = MISSING
    """Words in the label and group columns that look like names and mean that there is none: a line with one is
    refused. [] = all words are names."""
    header: bool = True
    """Whether the first line names the columns; otherwise they are called "1", "2", … (CSV and TSV)."""
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] | None = None
    """Character between fields, such as ";"; null = a comma in .csv, a tab in .tsv."""
    quoting: Quoting = "csv"
    """csv = a field may stand in double quotes; none = quotes are ordinary characters (CSV and TSV)."""
    encoding: str = "utf-8"
    """Character encoding of CSV, TSV and JSON lines."""

    @model_validator(mode="after")
    def _separates(self) -> "LabelledTable":
        if self.delimiter is not None and self.delimiter in '"\r\n':
            raise ValueError(f"delimiter: {self.delimiter!r} cannot separate fields; use a character such as ;")
        return self

    def lines(self, name: str) -> list[tuple[int, Line]]:
        """(number, values by column) of each line of the table `name`. Raises ConfigError."""
        columns = {field: getattr(self, field) for field in self.columns}
        dialect = Dialect(self.encoding, self.header, self.quoting, self.delimiter)
        return read_lines(self.root, name, columns, dialect)


class Labels:
    """Reads the label, split and group of each line; one for all tables of a source, whose columns are of one type."""

    def __init__(self, source: LabelledTable) -> None:
        self._label = Names(source.label_column, source.missing)
        self._group = Names(source.group_column, source.missing, dates=True) if source.group_column else None
        self._split = source.split_column

    def __call__(self, where: str, line: Line) -> tuple[str, Split | None, str | None]:
        """(label, split, group); None for a split or group that no column gives. Raises ConfigError naming the row."""
        label = self._label(where, line)
        split = split_of(where, line, self._split) if self._split else None
        return label, split, self._group(where, line) if self._group else None
