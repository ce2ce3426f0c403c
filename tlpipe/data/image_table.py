"""Images named by a table (CSV, TSV, JSON lines or Parquet) with a path and a label a line."""

from pathlib import PurePosixPath
from typing import Annotated, Literal

from pydantic import Field

from tlpipe.config import ConfigError
from tlpipe.data.base import Sample, Source, files_below
from tlpipe.data.table import Line, filled, read_lines, split_of

Name = Annotated[str, Field(min_length=1)]
COLUMNS = ("image_column", "label_column", "split_column", "group_column")


class ImageTable(Source):
    """A table in the folder `path`, with one image a line; image paths are relative to that folder."""

    kind: Literal["image_table"] = "image_table"
    table: Name
    """File name of the table inside `path`; .csv, .tsv, .jsonl or .parquet says how it is read."""
    image_column: Name = "image"
    label_column: Name = "label"
    split_column: Name | None = None
    """Holds train, val or test (and their usual other names); null = tlpipe makes the splits."""
    group_column: Name | None = None
    """Samples with the same value (a patient, a video) never go to different splits; null = no groups."""

    encoding: str = "utf-8"
    """Of CSV, TSV and JSON lines."""

    def scan(self) -> list[Sample]:
        """Every line of the table, sorted by image. Raises ConfigError naming the line of a value that cannot be."""
        root = self.root
        lines = read_lines(root, self.table, {field: getattr(self, field) for field in COLUMNS}, self.encoding)
        samples = sorted(self._sample(f"{self.table}, line {number}", line) for number, line in lines)
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

    def _sample(self, where: str, line: Line) -> Sample:
        image = PurePosixPath(filled(where, line, self.image_column).replace("\\", "/"))
        if image.is_absolute() or ".." in image.parts:
            raise ConfigError(
                f"{where}: {str(image)!r} lies outside of {self.path}; "
                "paths must be relative to that folder, because it is what DVC tracks"
            )
        label = filled(where, line, self.label_column)
        split = split_of(where, line, self.split_column) if self.split_column else None
        group = filled(where, line, self.group_column) if self.group_column else None
        return Sample(str(image), label, split, group)
