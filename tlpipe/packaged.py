"""Files of installed packages: `package:DISTRIBUTION/PATH` in the place of a path.

A path is one that the distribution's own record (RECORD) lists, or a folder of such paths, so that no name reaches
anything else on the machine. A zip file stands for the folder of its members, which are extracted to a cache, below
the hash of the zip.
"""

import hashlib
import os
import re
import shutil
import stat
import tempfile
import zipfile
from collections.abc import Mapping
from functools import cache
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from tlpipe.config import ConfigError
from tlpipe.wording import either, nearest

PREFIX = "package:"
SOLAR_CELLS = "package:elpv-dataset/elpv_dataset/data"
"""The photographs that the stage sample_solar draws from."""
NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")
"""A distribution's name (packaging.python.org, name normalization)."""
WEIGHTS = (".safetensors", ".pth", ".pt", ".bin", ".zip")
"""Ends of names that a message offers where the path is not there."""
OFFERED = 8


class Packaged(NamedTuple):
    """The two parts of `package:DISTRIBUTION/PATH`."""

    distribution: str
    path: str


def is_packaged(name: str) -> bool:
    """Whether a name in the place of a path is one of a package."""
    return name.startswith(PREFIX)


def packaged_in(section: Any) -> tuple[str, ...]:
    """Every name of a package's file in a section of params.yaml, sorted."""
    if isinstance(section, str):
        return (section,) if is_packaged(section) else ()
    inside = section.values() if isinstance(section, Mapping) else section if isinstance(section, list) else ()
    return tuple(sorted({name for value in inside for name in packaged_in(value)}))


def split_name(name: str) -> Packaged:
    """The parts of a name. Raises ConfigError where it has none, or could lead out of the distribution."""
    owner, _, path = name.removeprefix(PREFIX).partition("/")
    parts = path.rstrip("/").split("/")
    if not NAME.fullmatch(owner) or not path.strip("/"):
        raise ConfigError(f"{name!r} names no file of a package; write {PREFIX}DISTRIBUTION/PATH")
    if any(part in ("", ".", "..") for part in parts) or re.search(r"[\\:\0]", path):
        raise ConfigError(
            f"{name!r} has a path that is not plain: only names with / between them are allowed, no '..', no drive, "
            "no backslash"
        )
    return Packaged(owner, "/".join(parts))


def local_path(name: str) -> Path:
    """Where a file or folder is that params name: `name` itself, or what `package:DISTRIBUTION/PATH` stands for.

    Raises ConfigError when the package is not installed, says the command that installs it, and names what is near
    where the package has no such path.
    """
    if not is_packaged(name):
        return Path(name)
    wanted = split_name(name)
    owner = _distribution(wanted.distribution)
    files = _files(owner)
    parents = [wanted.path, *map(str, PurePosixPath(wanted.path).parents)]
    archive = next((parent for parent in parents if parent in files and parent.endswith(".zip")), None)
    if archive is not None and zipfile.is_zipfile(path := _located(owner, archive, name)):
        return _extracted(path, wanted.path.removeprefix(archive).removeprefix("/"), name)
    if wanted.path in files or any(file.startswith(f"{wanted.path}/") for file in files):
        return _located(owner, wanted.path, name)
    raise ConfigError(f"{name!r}: {_title(owner)} has no such file or folder{_near(wanted.path, files)}")


def record_of(name: str) -> str:
    """What the package's record says of the files of a name: another file, another text; "" where it is not there."""
    try:
        wanted = split_name(name)
        owner = _distribution(wanted.distribution)
    except ConfigError:
        return ""
    parents = {wanted.path, *map(str, PurePosixPath(wanted.path).parents)}
    lines = [
        f"{file} {file.hash.value if file.hash else file.size}"
        for file in owner.files or ()
        if str(file) in parents or str(file).startswith(f"{wanted.path}/")
    ]
    return "\n".join([owner.version, *sorted(lines)])


def title_of(name: str) -> str:
    """Distribution and version of a name, for people: `elpv-dataset 1.0`."""
    return _title(_distribution(split_name(name).distribution))


def _distribution(name: str) -> Distribution:
    try:
        return distribution(name)
    except PackageNotFoundError:
        raise ConfigError(f"the package {name} is not installed here; install it with: pip install {name}") from None


def _title(owner: Distribution) -> str:
    return f"{owner.metadata['Name']} {owner.version}"


def _files(owner: Distribution) -> frozenset[str]:
    return frozenset(PurePosixPath(str(file)).as_posix() for file in owner.files or ())


def _located(owner: Distribution, path: str, name: str) -> Path:
    located = Path(str(owner.locate_file(path)))
    if not located.exists():
        raise ConfigError(
            f"{name!r}: {_title(owner)} lists {path}, but it is not there; install the package again with: "
            f"pip install --force-reinstall {owner.metadata['Name']}"
        )
    return located


def _near(path: str, files: frozenset[str]) -> str:
    weights = sorted(file for file in files if file.endswith(WEIGHTS))
    near = nearest(path, sorted(files))
    if near:
        return f"; did you mean {either(near)}?"
    return f"; it has {', '.join(weights[:OFFERED])}" if weights else ""


def members_of(archive: Path) -> tuple[str, ...]:
    """Names of the files in a zip file, sorted; none where it is no zip file."""
    if not archive.is_file() or not zipfile.is_zipfile(archive):
        return ()
    with zipfile.ZipFile(archive) as content:
        return tuple(sorted(item.filename for item in content.infolist() if not item.is_dir()))


def cache_folder() -> Path:
    """Where members of zip files are extracted to, for all projects of a user."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    return home / "tlpipe" / "packages"


def _extracted(archive: Path, member: str, name: str) -> Path:
    """A member of a zip file, or all members of a folder in it ("" = all), below the hash of the whole zip."""
    folder = cache_folder() / _zip_hash(archive, archive.stat().st_mtime_ns)
    with zipfile.ZipFile(archive) as content:
        wanted = [
            item
            for item in content.infolist()
            if not item.is_dir() and (member in ("", item.filename) or item.filename.startswith(f"{member}/"))
        ]
        if not wanted:
            raise ConfigError(f"{name!r}: {archive.name} has no member {member!r}")
        for item in wanted:
            _extract(content, item, folder / _plain(item, name))
    return folder / member


def _plain(item: zipfile.ZipInfo, name: str) -> str:
    parts = item.filename.split("/")
    if stat.S_ISLNK(item.external_attr >> 16) or any(p in ("", ".", "..") or re.search(r"[\\:\0]", p) for p in parts):
        raise ConfigError(f"{name!r}: the zip holds {item.filename!r}, which is a link or leads out of it")
    return item.filename


def _extract(content: zipfile.ZipFile, item: zipfile.ZipInfo, target: Path) -> None:
    """Whole or not at all: other processes may extract the same member now."""
    if target.is_file() and target.stat().st_size == item.file_size:
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=".")
    try:
        with os.fdopen(descriptor, "wb") as stream, content.open(item) as source:
            shutil.copyfileobj(source, stream, 2**20)
        os.replace(temporary, target)
    finally:
        Path(temporary).unlink(missing_ok=True)


@cache
def _zip_hash(path: Path, modified: int) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
