"""Columnar tables (Parquet, Arrow, and folders that Hugging Face's `save_to_disk` wrote) as lines of values."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tlpipe.config import ConfigError
from tlpipe.data.cells import Line, require_unlike

SPLITS = "dataset_dict.json"
"""In every folder that `datasets.DatasetDict.save_to_disk` wrote, above those of the splits."""
STATE = "state.json"
"""In every folder that `datasets.Dataset.save_to_disk` wrote; names the files with the rows."""


def is_saved_dataset(path: Path) -> bool:
    """Whether a folder holds one split of a Hugging Face dataset."""
    return (path / STATE).is_file()


def require_one_split(path: Path, name: str) -> None:
    """Raise ConfigError for a folder with all splits of a Hugging Face dataset, which is a table for each of them."""
    if (path / SPLITS).is_file():
        there = sorted(folder.name for folder in path.iterdir() if is_saved_dataset(folder))
        which = ", ".join(f"{name}/{split}" for split in there) or "none"
        raise ConfigError(
            f"data.source.table: {path} is a Hugging Face dataset with several splits, each of which is a table of its "
            f"own ({which}): name one with `table`, or each with `splits`, such as {{train: {name}/train}}"
        )


def read_columnar(path: Path) -> tuple[list[str], list[tuple[int, Line]]]:
    """Column names and (row from 1, values by column); Hugging Face's class numbers become the names they stand for.

    Raises:
        ConfigError: The file is of another format, two columns have one name, or a value cannot be represented.
    """
    import pyarrow

    try:
        table = _table(path)
        require_unlike(str(path), table.column_names, "the column")
        rows = table.to_pylist()
    except (pyarrow.ArrowException, ValueError, OverflowError) as error:
        if isinstance(error, ConfigError):
            raise
        what = "Parquet" if path.suffix.lower() == ".parquet" else "Arrow"
        raise ConfigError(f"{path} is not a readable {what} file: {error}") from None
    names = _class_names(table.schema.metadata or {})
    for column in names:
        require_unlike(f"{path}: {column!r}", names[column], "the class name")
    for number, row in enumerate(rows, start=1):
        for column in names.keys() & row.keys():
            row[column] = _named(f"{path}, row {number}: {column!r}", row[column], names[column])
    return list(table.column_names), list(enumerate(rows, start=1))


def _table(path: Path) -> Any:
    import pyarrow
    from pyarrow import parquet

    if path.is_dir():
        return pyarrow.concat_tables([_arrow(file) for file in _files(path)])
    # one file, also where its folders look like a partitioned data set
    return parquet.ParquetFile(path).read() if path.suffix.lower() == ".parquet" else _arrow(path)


def _files(folder: Path) -> list[Path]:
    """The files with the rows of a saved dataset."""
    about = json.loads((folder / STATE).read_text(encoding="utf-8"))
    try:
        names = [str(each["filename"]) for each in about["_data_files"]]
    except (KeyError, TypeError):
        names = []
    if not names:
        raise ConfigError(f"{folder / STATE} names no files with rows ('_data_files'): save the dataset again")
    return [folder / Path(name).name for name in names]


def _arrow(path: Path) -> Any:
    """An Arrow file, or the stream that Hugging Face writes."""
    import pyarrow

    content = pyarrow.py_buffer(path.read_bytes())
    try:
        return pyarrow.ipc.open_file(content).read_all()
    except pyarrow.ArrowInvalid:
        return pyarrow.ipc.open_stream(content).read_all()


def _class_names(metadata: dict[bytes, bytes]) -> dict[str, Sequence[str]]:
    """Names of the classes of each `ClassLabel` column, from the schema's Hugging Face part."""
    try:
        features = json.loads(metadata.get(b"huggingface", b"{}"))["info"]["features"]
        kinds = {str(column): about for column, about in features.items() if isinstance(about, dict)}
        found = {column: about["names"] for column, about in kinds.items() if about.get("_type") == "ClassLabel"}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}
    return {
        # older files have a mapping of numbers, as text, to names
        column: [str(name) for name in (names.values() if isinstance(names, dict) else names)]
        for column, names in found.items()
        if isinstance(names, list | dict)
    }


def _named(where: str, value: Any, names: Sequence[str]) -> str | None:
    """The name of a class by its number; -1 is how Hugging Face writes a sample without a label."""
    if value is None or value == -1:
        return None
    if not isinstance(value, int) or not 0 <= value < len(names):
        raise ConfigError(f"{where} is class number {value}, and the file names {len(names)} classes: correct the file")
    return names[value]
