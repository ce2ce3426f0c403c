"""Pack cache: what the last `prepare` packed, by the hash of each file, so that a grown set decodes new images only.

It holds no pixels of its own: its `images.npy` is a hard link to the one of data/packed, which DVC moves and links
without writing to it. Where a file system has no hard links there is no cache, and all images are decoded each time.
What is read back is checked by hashes, so a damaged or half-written cache costs time and never changes a bit.
"""

import hashlib
import json
import os
import shutil
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlpipe.data.ingest import Image, Outcome, Unreadable
from tlpipe.data.similar import EDGE

ARRAY, ABOUT = "images.npy", "images.npz"
SETTLED = 2 * 10**9
"""Nanoseconds before a run began from which a file's time of change says that it was not written during that run."""
SUM = 16
"""Bytes of the hash of a packed row."""
Stamp = tuple[int, int, int]
"""Size, time of change in nanoseconds, and inode of a file: what DVC, too, knows an unchanged file by."""


@dataclass(frozen=True)
class PackCache:
    """What the last run with these settings and this code read and packed; empty where there was none."""

    folder: Path | None
    """None = nothing is kept."""
    key: str
    """Hash of the preprocessing, the limits, and the code that decodes."""
    outcomes: Mapping[str, Outcome]
    """By sha256 of the file, what reading it gave."""
    files: Mapping[str, tuple[Stamp, str]]
    """By sample id, the file's stamp and sha256."""
    rows: Mapping[str, tuple[int, bytes]]
    """By sha256 of the file, its row of the packed array and the hash of that row."""
    array: NDArray[np.uint8] | None
    """The packed array, mapped."""

    @classmethod
    def open(cls, folder: Path | None, key: str) -> "PackCache":
        """The cache in `folder`; empty if it is of other settings or other code, or cannot be read."""
        empty = cls(folder, key, {}, {}, {}, None)
        if folder is None:
            return empty
        try:
            with (folder / ABOUT).open("rb") as file, np.load(file) as about:
                if str(about["key"]) != key:
                    return empty
                return _opened(folder, key, dict(about))
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return empty

    def sha256(self, name: str, stamp: Stamp) -> str | None:
        """The hash of a sample's file, if the file is the one that was read then."""
        known = self.files.get(name)
        return known[1] if known is not None and known[0] == stamp else None

    def row(self, sha256: str) -> bytes | None:
        """The packed image of a file with this hash; None where it was not packed or is damaged."""
        number, digest = self.rows.get(sha256, (-1, b""))
        if self.array is None or not 0 <= number < len(self.array):
            return None
        row = self.array[number].tobytes()
        return row if row_hash(row) == digest else None

    def replace(self, packed: Path, content: "Content") -> None:
        """Keep `content` and the array in the file `packed` instead; a kill leaves the old cache, the new or none."""
        if self.folder is None:
            return
        half = self.folder.with_name(f".{self.folder.name}.half")
        shutil.rmtree(half, ignore_errors=True)
        half.mkdir(parents=True)
        try:
            os.link(packed, half / ARRAY)
            arrays: dict[str, Any] = {"key": np.array(self.key), **content.arrays()}
            np.savez(half / ABOUT, **arrays)
            shutil.rmtree(self.folder, ignore_errors=True)
            half.replace(self.folder)
        except OSError:  # no hard links here, or no room: the run itself has all that it needs
            shutil.rmtree(half, ignore_errors=True)


@dataclass(frozen=True)
class Content:
    """What a run read, a sample a line, in the source's order; samples without a file are left out."""

    names: Sequence[str]
    stamps: Sequence[Stamp]
    outcomes: Sequence[Outcome]
    rows: Mapping[str, tuple[int, bytes]]
    """By sample id, the row of the packed array and its hash."""
    began: int
    """Nanoseconds since the epoch."""

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """As they are stored. The stamp of a file that changed about when it was read is not: it may change again."""
        images = [each if isinstance(each, Image) else Image(each.sha256, b"", 0, 0, 0, b"") for each in self.outcomes]
        troubles = [[each.reason, each.detail] if isinstance(each, Unreadable) else None for each in self.outcomes]
        settled = [stamp if stamp[1] < self.began - SETTLED else (-1, -1, -1) for stamp in self.stamps]
        rows = [self.rows.get(name, (-1, b"")) for name in self.names]
        return {
            "text": np.frombuffer(json.dumps([list(self.names), troubles]).encode(), np.uint8),
            "stamps": np.array(settled, np.int64).reshape(-1, 3),
            "sha256": _joined([bytes.fromhex(each.sha256) for each in images], 32),
            "pixels": _joined([each.pixels for each in images], 32),
            "sizes": np.array([(each.width, each.height, each.brightest) for each in images], np.int64).reshape(-1, 3),
            "thumbnails": _joined([each.thumbnail for each in images], EDGE * EDGE),
            "rows": np.array([number for number, _ in rows], np.int64),
            "sums": _joined([digest for _, digest in rows], SUM),
        }


def _joined(values: Sequence[bytes], size: int) -> NDArray[np.uint8]:
    """(N, size), shorter values filled up with zeros."""
    return np.frombuffer(b"".join(value.ljust(size, b"\0") for value in values), np.uint8).reshape(len(values), size)


def _opened(folder: Path, key: str, about: Mapping[str, NDArray[np.generic]]) -> PackCache:
    names, troubles = json.loads(about["text"].tobytes())
    hashes = [each.tobytes().hex() for each in about["sha256"]]
    outcomes: dict[str, Outcome] = {}
    for at, (sha256, trouble) in enumerate(zip(hashes, troubles, strict=True)):
        if trouble is not None:
            outcomes[sha256] = Unreadable(trouble[0], trouble[1], sha256)
            continue
        width, height, brightest = about["sizes"][at].tolist()
        pixels, thumbnail = about["pixels"][at].tobytes(), about["thumbnails"][at].tobytes()
        outcomes[sha256] = Image(sha256, pixels, width, height, brightest, thumbnail)
    stamps = [tuple(stamp) for stamp in about["stamps"].tolist()]
    rows = zip(hashes, about["rows"].tolist(), about["sums"], strict=True)
    return PackCache(
        folder,
        key,
        outcomes,
        dict(zip(names, zip(stamps, hashes, strict=True), strict=True)),
        {sha256: (number, digest.tobytes()) for sha256, number, digest in rows if number >= 0},
        np.load(folder / ARRAY, mmap_mode="r"),
    )


def row_hash(row: bytes) -> bytes:
    """Of a packed image, SUM bytes."""
    return hashlib.blake2b(row, digest_size=SUM).digest()


def stamp_of(path: Path) -> Stamp | None:
    """The stamp of a file; None where it cannot be seen."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    return status.st_size, status.st_mtime_ns, status.st_ino & (2**63 - 1)
