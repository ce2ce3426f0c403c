"""Images named by a table with a path and a label a line."""

from pathlib import PurePosixPath
from typing import ClassVar, Literal

from tlpipe.config import ConfigError
from tlpipe.data.base import Sample, files_below
from tlpipe.data.cells import Line, text_of
from tlpipe.data.labelled_table import LabelledTable, Labels, Name


class ImageTable(LabelledTable):
    """A table in the folder `path`, with one image a line; image paths are relative to that folder."""

    columns: ClassVar[tuple[str, ...]] = ("image_column", *LabelledTable.columns)

    kind: Literal["image_table"] = "image_table"
    table: Name
    """File name of the table inside `path`; .csv, .tsv, .jsonl, .parquet or .arrow says how it is read."""
    image_column: Name = "image"
    """Name of the column of image files, relative to `path`."""

    def scan(self) -> list[Sample]:
        """Every line of the table, sorted by image. Raises ConfigError naming the line of a value that cannot be."""
        root, labels = self.root, Labels(self)
        samples = sorted(
            self._sample(f"{self.table}, line {number}", line, labels) for number, line in self.lines(self.table)
        )
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

    def _sample(self, where: str, line: Line, labels: Labels) -> Sample:
        written = text_of(where, line, self.image_column)
        if not written or "\0" in written:
            what = "has a zero byte" if written else "is empty"
            raise ConfigError(f"{where}: {self.image_column!r} {what}; fill it in, or remove the line")
        image = PurePosixPath(written.replace("\\", "/"))
        if image.is_absolute() or ".." in image.parts:
            raise ConfigError(
                f"{where}: {str(image)!r} lies outside of {self.path}; "
                "paths must be relative to that folder, because it is what DVC tracks"
            )
        label, split, group = labels(where, line)
        return Sample(str(image), label, split, group)
