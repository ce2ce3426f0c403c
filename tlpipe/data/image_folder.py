"""Images in a folder per class, optionally under a folder per split."""

import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Literal

from tlpipe.config import ConfigError, suggest
from tlpipe.data.base import ROLES, Sample, Source, files_below, is_image, listing, unread_images
from tlpipe.data.cells import require_name
from tlpipe.data.packed import Split

SYSTEM = frozenset({"__MACOSX", "__pycache__", "@eaDir", "#recycle", "$RECYCLE.BIN", "lost+found", "Thumbs"})
"""Folders that archives, file systems and network storages put beside what people have."""


class ImageFolder(Source):
    """A folder of class folders, or of split folders that hold class folders; deeper folders belong to their class."""

    kind: Literal["image_folder"] = "image_folder"
    splits: dict[Literal["train", "validation", "test"], str] | None = None
    """Which folder plays which role, such as {train: train, test: val}; {} = no split folders, every folder is a
    class; null = folders named train, val, valid, validation, dev and test are recognised."""

    def scan(self) -> list[Sample]:
        """Every image in a class folder, sorted by id. Raises ConfigError for a layout that can be read in two ways."""
        return self.listed(sys.maxsize)[0]

    def listed(self, most: int) -> tuple[list[Sample], bool]:
        """As `scan`, at most `most` images of a class folder; whether these are all."""
        root, whole = self.root, True
        samples = []
        for split, folder in self._class_folders():
            require_name(f"data.source.path: the class folder {folder}", folder.name)
            names = _images(folder, root, most)
            whole = whole and len(names) < most
            samples += [Sample(name, folder.name, split) for name in names]
        return sorted(samples), whole

    def ignored(self) -> list[str]:
        """Files that are not images or lie outside the class folders, and folders that play no role."""
        root, taken = self.root, [folder for _, folder in self._class_folders()]
        parents = {root, *(folder.parent for folder in taken)}
        found = [f"{child.relative_to(root).as_posix()}" for parent in parents for child in _files(parent)]
        found += [
            f"{child.relative_to(root).as_posix()}/"
            for parent in parents
            for child in _folders(parent, hidden=True)
            if child not in taken and child not in parents
        ]
        found += [name for folder in taken for name in files_below(folder, root) if not is_image(name)]
        return sorted(found)

    def notes(self) -> list[str]:
        """Class folders without an image, too."""
        folders = [folder for _, folder in self._class_folders() if not _images(folder, self.root)]
        names = [folder.relative_to(self.root).as_posix() for folder in folders]
        empty = f"{listing(names)}: no image is in there, so it is no class" if names else ""
        return [*super().notes(), *([empty] if empty else [])]

    def _class_folders(self) -> Iterator[tuple[Split | None, Path]]:
        """(split, class folder), also those without images."""
        roles = self._roles(_folders(self.root))
        bases: list[tuple[Split | None, Path]] = list(roles.items()) or [(None, self.root)]
        for split, base in bases:
            folders = _folders(base)
            if not folders:
                raise ConfigError(f"data.source.path: {base} has no class folders; put each class into a folder there")
            yield from ((split, folder) for folder in folders)

    def _roles(self, folders: list[Path]) -> dict[Split, Path]:
        if self.splits is not None:
            return {split: self._named(name, folders) for split, name in self.splits.items()}
        known = [folder for folder in folders if folder.name.lower() in ROLES]
        other = [folder.name for folder in folders if folder not in known]
        names = [folder.name for folder in known]
        roles: dict[Split, Path] = {ROLES[folder.name.lower()]: folder for folder in known}
        if known and (other or len(roles) < len(known)):
            problem = f"beside {listing(other)}" if other else "but two of them would be the same split"
            raise ConfigError(
                f"data.source.path: in {self.path} the folders {listing(names)} look like splits, {problem}; "
                "say which folder is which with data.source.splits, such as {train: train, test: val}, "
                "or write {} when every folder is a class"
            )
        return roles

    def _named(self, name: str, folders: list[Path]) -> Path:
        names = [folder.name for folder in folders]
        if name not in names:
            raise ConfigError(f"data.source.splits: {self.path} has no folder {name!r}{suggest(name, names)}")
        if self.splits and list(self.splits.values()).count(name) > 1:
            raise ConfigError(f"data.source.splits: the folder {name!r} cannot be two splits; name each folder once")
        return folders[names.index(name)]


def _images(folder: Path, root: Path, most: int = sys.maxsize) -> list[str]:
    """At most `most` images in a class folder. Raises ConfigError when it has none, and pictures that are not read."""
    images = list(islice((name for name in files_below(folder, root) if is_image(name)), most))
    if not images and (unread := unread_images(list(files_below(folder, root)))):
        raise ConfigError(f"data.source.path: the class folder {folder} holds no images that are read; {unread[0]}")
    return images


def _folders(parent: Path, hidden: bool = False) -> list[Path]:
    """Sub-folders; those that systems make for themselves count as hidden ones."""
    inside = ((child, child.name.startswith(".") or child.name in SYSTEM) for child in parent.iterdir())
    return sorted(child for child, is_hidden in inside if child.is_dir() and is_hidden <= hidden)


def _files(parent: Path) -> list[Path]:
    return [child for child in parent.iterdir() if not child.is_dir()]
