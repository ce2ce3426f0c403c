"""Survey of somebody's data: which task it is for, where samples and labels are, how many, how large; nothing is asked.

All samples are listed; images are opened, headers only, and texts counted for a spread sample of PROBED.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image, UnidentifiedImageError

from tlpipe.config import ConfigError, parse
from tlpipe.data.base import ROLES, Sample, Source, is_image, listing
from tlpipe.data.cells import is_missing
from tlpipe.data.conll import LINES
from tlpipe.data.spec import AnySource
from tlpipe.data.table import read_table

PROBED = 200
TABLES = (".csv", ".tsv", ".jsonl", ".parquet")
COLUMNS: Mapping[str, Sequence[str]] = {
    "label_column": ("label", "class", "category", "target", "species", "intent", "sentiment", "y", "tag"),
    "split_column": ("split", "set", "subset", "partition"),
    "group_column": ("group", "patient", "patient_id", "author", "user", "user_id", "video", "document", "subject"),
    "image_column": ("image", "file", "filename", "file_name", "filepath", "image_path", "path", "img"),
    "text_column": (
        "text",
        "sentence",
        "review",
        "content",
        "message",
        "comment",
        "body",
        "title",
        "tweet",
        "utterance",
    ),
}
"""Names that columns usually have, in the order in which they are taken, by the setting that names them."""
Shape = tuple[str, dict[str, Any]]
"""The kind of a task, and its data.source without the path."""


@dataclass(frozen=True)
class Survey:
    """What was seen of the data."""

    task: str
    """Kind of the task."""
    source: dict[str, Any]
    """The section data.source."""
    counts: dict[str, dict[str, int]]
    """Samples by split ("all" where tlpipe makes the splits) and label, or stratum."""
    size: int
    """Median of the images' shorter edges in pixels, or 95th percentile of the texts' lengths in words."""
    remarks: list[str] = field(default_factory=list)
    """What else was seen, a line each."""

    @property
    def labels(self) -> Counter[str]:
        """Samples of each label, all splits together."""
        total: Counter[str] = Counter()
        for labels in self.counts.values():
            total.update(labels)
        return total

    @property
    def splits(self) -> set[str]:
        """Splits that the data give themselves."""
        return set(self.counts) - {"all"}

    def describe(self) -> list[str]:
        """Lines for people."""
        total, labels = self.labels.total(), self.labels
        names = listing([f"{label} {count:,}" for label, count in labels.most_common()])
        unit = "pixels, the shorter edge" if self.task == "image_classification" else "words, 95 % have no more"
        lines = [f"{total:,} samples for {self.task} ({self.source['kind']}), {len(labels):,} labels: {names}"]
        if self.splits:
            parts = (f"{split} {sum(labels.values()):,}" for split, labels in self.counts.items())
            lines.append(f"splits of their own: {', '.join(parts)}")
        return [*lines, f"size: {self.size:,} {unit}", *self.remarks]


def survey(path: Path, written: str) -> Survey:
    """Look at a folder or a file. `written`: how params.yaml is to name its folder.

    Raises:
        ConfigError: nothing there that a source can read, or something that it would refuse.
    """
    if not path.exists():
        raise ConfigError(f"--data: {path} does not exist; name a folder of images, or a table, .conll or SQuAD .json")
    task, settings = _of_file(path) if path.is_file() else _of_folder(path)
    folder = path.parent if path.is_file() else path
    source: Source = parse({**settings, "path": str(folder)}, AnySource, "--data")
    samples = source.scan()
    if not samples:
        raise ConfigError(f"--data: there are no samples in {path}")
    size, remarks = _images(source, samples) if source.modality == "image" else (_words(source, samples), [])
    return Survey(task, {**settings, "path": written}, _counted(samples), size, remarks)


def _counted(samples: Sequence[Sample]) -> dict[str, dict[str, int]]:
    counts: dict[str, Counter[str]] = {}
    for sample in samples:
        counts.setdefault(sample.split or "all", Counter())[sample.label] += 1
    return {split: dict(labels) for split, labels in counts.items()}


def _of_folder(folder: Path) -> Shape:
    """By the files at its top: tables, tagged words and questions before folders of images."""
    files = sorted(file for file in folder.iterdir() if file.is_file() and not file.name.startswith("."))
    readers: tuple[tuple[Callable[[Path], bool], Callable[[Path, list[Path]], Shape]], ...] = (
        (lambda file: file.suffix == ".conll", lambda _, named: _files("token_classification", "conll", named)),
        (_is_squad, lambda _, named: _files("question_answering", "squad", named)),
        (lambda file: file.suffix.lower() in TABLES, _of_tables),
    )
    for fits, read in readers:
        if named := [file for file in files if fits(file)]:
            return read(folder, named)
    if any(child.is_dir() and not child.name.startswith(".") for child in folder.iterdir()):
        return "image_classification", {"kind": "image_folder", "splits": None}
    some = listing([file.name for file in files]) if files else "nothing"
    raise ConfigError(
        f"--data: {folder} holds {some}; allowed: a folder a class, a table ({', '.join(TABLES)}), .conll files, or "
        "SQuAD's .json; put the images of each class into a folder of its own, or name their labels in a table"
    )


def _of_file(file: Path) -> Shape:
    if file.suffix == ".conll":
        return _files("token_classification", "conll", [file])
    if _is_squad(file):
        return _files("question_answering", "squad", [file])
    if file.suffix.lower() in TABLES:
        return _of_tables(file.parent, [file])
    raise ConfigError(f"--data: {file} is none of {', '.join((*TABLES, '.conll'))} and SQuAD's .json; convert it")


def _is_squad(file: Path) -> bool:
    if file.suffix.lower() != ".json":
        return False
    with file.open(encoding="utf-8", errors="replace") as opened:
        return '"data"' in (head := opened.read(100_000)) and '"paragraphs"' in head


def _files(task: str, kind: str, files: list[Path]) -> Shape:
    roles = _roles(files)
    return task, {"kind": kind, **({"splits": roles} if roles else {"file": _only(files)})}


def _roles(files: list[Path]) -> dict[str, str]:
    """The file of each split, by the words in their names; empty where none of them names one."""
    roles: dict[str, str] = {}
    for file in files:
        words = "".join(letter if letter.isalnum() else " " for letter in file.stem.lower()).split()
        named = [ROLES[word] for word in words if word in ROLES]
        if named and named[0] not in roles:
            roles[named[0]] = file.name
    return roles if "train" in roles else {}


def _only(files: list[Path]) -> str:
    if len(files) > 1:
        raise ConfigError(
            f"--data: {files[0].parent} holds {listing([file.name for file in files])}, none of which is named like a "
            "train split; give the one that is meant: --data FILE"
        )
    return files[0].name


def _of_tables(folder: Path, files: list[Path]) -> Shape:
    roles = _roles(files)
    first = folder / (roles["train"] if roles else _only(files))
    names, lines = read_table(first)
    values = [line for _, line in _spread(lines)]
    if {"tokens", "tags"} <= set(names) and first.name.endswith(LINES):
        return _files("token_classification", "conll", files)
    columns = {setting: _named(setting, names) for setting in COLUMNS}
    if not columns["label_column"]:
        raise ConfigError(
            f"--data: {first} has the columns {listing(names)}, and none is called like a label "
            f"({', '.join(COLUMNS['label_column'])}); rename the one that holds it"
        )
    taken = {name for setting, name in columns.items() if name and setting in ("label_column", "split_column")}
    image = columns["image_column"] or _holding(values, names, taken, is_image)
    if image and any(is_image(str(line.get(image))) for line in values):
        if roles:
            raise ConfigError(
                f"--data: {folder} has a table a split, and images are read from one table: put the lines of "
                f"{listing(list(roles.values()))} into one, with a column split"
            )
        return "image_classification", {"kind": "image_table", "table": first.name, **_given(columns, image=image)}
    text = columns["text_column"] or _longest(values, [name for name in names if name not in taken])
    where: dict[str, Any] = {"splits": roles} if roles else {"table": first.name}
    return "text_classification", {"kind": "text_table", **where, **_given(columns, text=text)}


def _given(columns: Mapping[str, str | None], **content: str) -> dict[str, str]:
    known = {setting: columns[setting] for setting in ("label_column", "split_column", "group_column")}
    return {f"{kind}_column": name for kind, name in content.items()} | {
        key: name for key, name in known.items() if name
    }


def _named(setting: str, names: Sequence[str]) -> str | None:
    lower = {name.lower(): name for name in names}
    return next((lower[usual] for usual in COLUMNS[setting] if usual in lower), None)


def _holding(lines: list[Any], names: Sequence[str], taken: set[str], fits: Callable[[str], bool]) -> str | None:
    free = (name for name in names if name not in taken)
    return next((name for name in free if lines and all(fits(str(line.get(name))) for line in lines)), None)


def _longest(lines: list[Any], names: Sequence[str]) -> str:
    """The column with the longest texts."""
    if not names:
        raise ConfigError("--data: the table has no column but those of labels and splits; add the one with the texts")

    def length(name: str) -> int:
        return sum(len(str(line.get(name))) for line in lines if not is_missing(line.get(name)))

    return max(names, key=length)


def _spread(values: Sequence[Any]) -> list[Any]:
    """At most PROBED of them, evenly spaced."""
    step = max(1, -(-len(values) // PROBED))
    return list(values[::step])


def _images(source: Source, samples: Sequence[Sample]) -> tuple[int, list[str]]:
    """Median of the shorter edges, and what else the headers say."""
    edges, modes, broken = [], Counter[str](), []
    for sample in _spread(samples):
        try:
            with Image.open(source.root / sample.id) as image:
                edges.append(min(image.size))
                modes[image.mode] += 1
        except (OSError, UnidentifiedImageError):
            broken.append(sample.id)
    if not edges:
        raise ConfigError(f"--data: none of {len(broken)} probed images can be read, such as {broken[0]}")
    gray = sum(modes[mode] for mode in ("1", "L", "LA", "I", "I;16", "F"))
    colour = "all gray" if gray == len(edges) else "in colour" if not gray else f"{gray / len(edges):.0%} gray"
    remarks = [f"{len(edges) + len(broken):,} images were probed: {colour}"]
    if broken:
        remarks.append(f"{len(broken)} of them cannot be read, such as {broken[0]}: prepare will say which and go on")
    return sorted(edges)[len(edges) // 2], remarks


def _words(source: Source, samples: Sequence[Sample]) -> int:
    lengths = sorted(_length(source.read(sample.id)) for sample in _spread(samples))
    return max(1, lengths[min(len(lengths) - 1, int(0.95 * len(lengths)))])


def _length(raw: bytes) -> int:
    """Words of a sample, as sources of texts hand them out: JSON of a text, a list of them, or a record of texts."""
    return _count(json.loads(raw))


def _count(value: Any) -> int:
    if isinstance(value, str):
        return len(value.split())
    parts: Iterable[Any] = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    return sum(map(_count, parts))
