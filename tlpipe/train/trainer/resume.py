"""Recovery state outside of DVC's outs: kill the training anywhere, run it again, get the same bits."""

import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from tlpipe.code.fingerprint import stage_hash
from tlpipe.config import PARAMS, read
from tlpipe.locks import WORK

COST = 20
"""A state that takes a second to save is saved at the ends of epochs that are at least so many seconds apart."""


def run_key(*parts: Any) -> str:
    """32 hex digits from everything that decides a training: plain values, in order."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:32]


def hash_files(paths: Iterable[Path]) -> str:
    """sha256 over the contents of files, and of all files below folders, in sorted order."""
    digest = hashlib.sha256()
    for path in paths:
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file() and file.suffix != ".pyc":
                digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def hash_code(stage: str, params: Path = PARAMS) -> str:
    """The fingerprint of the code that decides the bits of what a stage writes, as DVC knows it too."""
    return stage_hash(stage, read(params) if params.is_file() else None)


class Keeper:
    """Saves a state now and then, and hands the last one back after a crash."""

    def __init__(self, stage: str, key: str, every: float = 30.0, root: Path = WORK) -> None:
        self.key = key
        self.folder = root / stage / key
        self.path = self.folder / "state.pt"
        self.every = every
        self._saved = time.monotonic()
        self._cost = 0.0
        """Seconds that the last save took."""

    def load(self) -> dict[str, Any] | None:
        """The last state that was saved whole, or None."""
        if not self.path.is_file():
            return None
        state: dict[str, Any] = torch.load(self.path, map_location="cpu", weights_only=True)
        return state

    def due(self, epoch_ends: bool = False) -> bool:
        """Whether `every` seconds have passed since the last save.

        An epoch's end is due earlier, where a save is cheap: at most one part in COST of the time goes into it.
        """
        wait = min(self.every, COST * self._cost) if epoch_ends else self.every
        return time.monotonic() - self._saved >= wait

    def save(self, state: dict[str, Any]) -> None:
        """Replace the saved state in one step: a kill leaves the old one or the new one, never half of one."""
        begun = time.monotonic()
        self.folder.mkdir(parents=True, exist_ok=True)
        half = self.path.with_suffix(".half")
        with half.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        half.replace(self.path)
        self._saved = time.monotonic()
        self._cost = self._saved - begun

    def drop(self) -> None:
        """Forget the state: the outs are written."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def drop_all(self) -> None:
        """Forget every state of the stage, also of trainings that lost a race or that were given up."""
        for folder in self.folder.parent.glob("*/"):
            shutil.rmtree(folder, ignore_errors=True)
