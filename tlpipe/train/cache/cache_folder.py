"""The folder that kept activations lie in, under a limit of bytes, and what its file system has room for."""

import os
import platform
import shutil
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

ABOUT = "about.json"
"""In every folder of activations that is whole."""
HALF = ".half-"
"""In the name of every folder that is being written."""
ABANDONED = 86_400
"""Seconds without a write after which what another machine wrote half is taken for rubbish."""
GONE = (FileNotFoundError, NotADirectoryError)
"""What a look at a file raises that another process has just deleted or renamed, or that is no folder."""


@dataclass(frozen=True)
class DiskSpace:
    """What a file system has room for, bytes."""

    free: int
    kept: int
    """Of the activations that are there: the oldest are deleted for new ones."""
    reserve: int
    """For everything else that is going to be written."""

    @property
    def bytes(self) -> int:
        """That activations may take, with those that are there."""
        return max(0, self.free + self.kept - self.reserve)

    def describe(self) -> str:
        """For people."""
        room, free, kept, reserve = (each / 1e9 for each in (self.bytes, self.free, self.kept, self.reserve))
        older = f" and {kept:.2g} GB of older activations" if self.kept else ""
        return f"{room:.2g} GB ({free:.2g} GB free{older}, less {reserve:.2g} GB for recovery states and models)"


@dataclass(frozen=True)
class _Folder:
    """What stands on a shelf."""

    path: Path
    bytes: int
    used: float

    @property
    def half(self) -> bool:
        """Whether it is being written, or was when its writer died."""
        return HALF in self.path.name


class CacheFolder:
    """A folder of stored activations under a limit of bytes; the least recently used go first.

    Other processes may write, use and delete the same ones meanwhile.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def room(self, reserve: int) -> DiskSpace:
        """What may lie here, if `reserve` bytes of the file system are left alone."""
        there = next(folder for folder in (self.root, *self.root.absolute().parents) if folder.is_dir())
        kept = sum(folder.bytes for folder in self._folders() if not folder.half)
        return DiskSpace(shutil.disk_usage(there).free, kept, reserve)

    def folder(self, key: str) -> Path:
        """Where the activations of `key` are, or will be."""
        return self.root / key

    def has(self, key: str) -> bool:
        """Whether they are there, whole."""
        return (self.root / key / ABOUT).is_file()

    def make_room(self, wanted: int, limit: int, keep: frozenset[str]) -> None:
        """Delete what was used longest ago, but nothing in `keep`, until `wanted` more bytes stay within `limit`."""
        for folder in self._folders():
            if folder.half and _abandoned(folder):
                shutil.rmtree(folder.path, ignore_errors=True)
        folders = self._folders()
        total = sum(folder.bytes for folder in folders) + wanted
        for folder in sorted(folders, key=lambda each: each.used):
            if total > limit and folder.path.name not in keep and not folder.half:
                _delete(folder.path)
                total -= folder.bytes

    def _folders(self) -> list[_Folder]:
        found: list[_Folder] = []
        with suppress(*GONE):
            for path in self.root.iterdir():
                with suppress(*GONE):
                    found.append(_look_at(path))
        return found


def _look_at(path: Path) -> _Folder:
    files, used = [each.stat() for each in path.iterdir()], path.stat().st_mtime
    if HALF in path.name:
        used = max([used, *(each.st_mtime for each in files)])
    return _Folder(path, sum(each.st_size for each in files), used)


def half_of(folder: Path) -> Path:
    """The name of `folder` while this process fills it or empties it."""
    return folder.with_name(f"{folder.name}{HALF}{host()}-{os.getpid()}")


def host() -> str:
    """This machine's name: a process's number says nothing on another that shares the project's folder."""
    return platform.node() or "localhost"


def _delete(folder: Path) -> None:
    """Out of sight first, so that nobody finds a part of it."""
    with suppress(OSError):
        shutil.rmtree(folder.rename(half_of(folder)), ignore_errors=True)


def _abandoned(folder: _Folder) -> bool:
    """Whether nobody writes to this half-written folder any more; another machine's is judged by its age."""
    owner, _, process = folder.path.name.rsplit(HALF, 1)[1].rpartition("-")
    return not _alive(int(process)) if owner == host() else time.time() - folder.used > ABANDONED


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
