"""The contract of a source of samples: what there is, and the raw bytes of each."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, ClassVar, Literal, Protocol, TypeVar

from pydantic import Field

from tlpipe.config import ConfigError, Spec
from tlpipe.data.packed import Split
from tlpipe.files import read_file
from tlpipe.preprocess.decode import EXTENSIONS

T = TypeVar("T")
TERMS = "SOURCE.md"
"""Beside the samples: where they are from, under which licence, and whom to cite."""
LONGEST_TERMS = 20_000
"""Bytes of it that are taken over."""
CONVERT = "convert them to JPEG or PNG, such as with `magick mogrify -format png *{}`"
UNREAD = {ending: CONVERT.format(ending) for ending in (
    ".heic", ".heif", ".jxl", ".tga", ".psd", ".svg", ".eps", ".ico", ".exr", ".hdr", ".pcx",
    ".raw", ".cr2", ".cr3", ".nef", ".arw", ".dng", ".orf", ".rw2",
)}  # fmt: skip
UNREAD |= dict.fromkeys((".dcm", ".nii", ".npy", ".fits", ".mp4", ".mov", ".avi", ".pdf"), "save pictures of it as PNG")
"""Endings of files that hold pictures and are not read, and what to do about them."""
ROLES: dict[str, Split] = {
    "train": "train", "training": "train",
    "val": "validation", "valid": "validation", "validation": "validation", "dev": "validation",
    "test": "test", "testing": "test",
}  # fmt: skip
"""The usual names of splits, in lower case, and what each is."""


@dataclass(frozen=True, order=True)
class Sample:
    """One labelled sample. Samples of one `group` (a patient, a video) must not be in different splits."""

    id: str
    """Names the sample for `Source.read`: its path below the source's folder, with forward slashes."""
    label: str
    split: Split | None = None
    """None where tlpipe is to make the splits."""
    group: str | None = None


class Source(Spec):
    """Where the raw samples are."""

    modality: ClassVar[Literal["image", "text"]] = "image"
    form: ClassVar[str] = "image"
    """What the samples are, and what they are labelled with: image, text, words or questions."""
    stratified: ClassVar[bool] = False
    """Whether `Sample.label` is only what the splits are made alike in; else it is a class, needed in every split."""
    grouping: ClassVar[str] = "name more groups, or set data.source.group_column to null"
    """What to do where there are too few groups."""

    path: Annotated[str, Field(min_length=1)]
    """The folder that holds everything that is read; dvc.yaml depends on it."""

    def scan(self) -> list[Sample]:
        """Every labelled sample, sorted by id. Raises ConfigError when the layout cannot be understood."""
        raise NotImplementedError

    def listed(self, most: int) -> tuple[list[Sample], bool]:
        """As `scan`, but at most `most` samples of a class where listing all takes long; whether these are all."""
        return self.scan(), True

    def ignored(self) -> list[str]:
        """Paths below the folder that are not samples; a folder, ending in a slash, stands for all that it holds."""
        raise NotImplementedError

    def notes(self) -> list[str]:
        """Sentences about what is in the folder and probably meant otherwise; nothing is refused for it."""
        return unread_images(self.ignored()) if self.modality == "image" else []

    def terms(self) -> str:
        """What the folder's SOURCE.md says; "" where there is none."""
        try:
            return read_file(self.root / TERMS, LONGEST_TERMS).decode("utf-8", "replace").strip()
        except OSError:
            return ""

    def read(self, sample: str) -> bytes:
        """The raw bytes of the sample with this id. Raises OSError."""
        return read_file(self.root / sample)

    @property
    def root(self) -> Path:
        """The folder. Raises ConfigError when there is none."""
        folder = Path(self.path)
        if not folder.is_dir():
            what = "is not a folder" if folder.exists() else "does not exist"
            raise ConfigError(f"data.source.path: {self.path!r} {what} (seen from {Path.cwd()})")
        return folder


def unread_images(paths: Iterable[str]) -> list[str]:
    """A sentence for each kind of image file that is not read, of these paths."""
    counts = Counter(PurePosixPath(path).suffix.lower() for path in paths)
    return [
        f"{count:,} {ending} file{'s' if count > 1 else ''} {'are' if count > 1 else 'is'} not read: {UNREAD[ending]}"
        for ending, count in sorted(counts.items())
        if ending in UNREAD
    ]


def is_image(path: str) -> bool:
    """Whether a relative path is named like an image; hidden files (`._photo.jpg`, `.thumbnails/1.jpg`) are not."""
    portable = PurePosixPath(path)
    return portable.suffix.lower() in EXTENSIONS and not any(part.startswith(".") for part in portable.parts)


def files_below(folder: Path, root: Path) -> Iterator[str]:
    """Every file in `folder` and its sub-folders, as paths below `root`; links to folders are followed once."""
    seen: set[str] = set()
    for here, folders, names in os.walk(folder, followlinks=True, onerror=_unreadable):
        real = os.path.realpath(here)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        for name in names:
            yield _portable(Path(here, name).relative_to(root).as_posix())


def _unreadable(error: OSError) -> None:
    raise error


def _portable(path: str) -> str:
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:
        raise ConfigError(f"data.source.path: the name of {path!r} is not valid UTF-8; rename the file") from None
    return path


def listing(names: list[str], most: int = 20) -> str:
    """`a, b, c` for messages, cut short after `most` names; `nothing` for none."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return (", ".join(names[:most]) + more) or "nothing"


class Track(Protocol):
    """What `tlpipe.progress.track` is to those who call it: yields what it is given, and shows how far it is."""

    def __call__(
        self, iterable: Iterable[T], /, description: str, total: int | None = None, unit: str = "it"
    ) -> Iterator[T]:
        """Yield from `iterable`."""


def silently(iterable: Iterable[T], /, description: str, total: int | None = None, unit: str = "it") -> Iterator[T]:
    """The `Track` that shows nothing."""
    yield from iterable
