"""A first look is written whole; a full disk of one process ends it in all of them, with nothing half-written."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.train.conftest import files_of_at_most
from tests.train.test_stored_activations import MAPS
from tlpipe.config import ConfigError
from tlpipe.train.cache.cache_folder import CacheFolder
from tlpipe.train.cache.stored_activations import Layout, StoredActivations
from tlpipe.train.cache.writers import Found, writers
from tlpipe.train.hardware.distributed import Team

LAYOUT = Layout.of(MAPS, "exact", 1)
FOUND: Found = [[(2, 0, LAYOUT.encode(MAPS[:4]))], [(2, 4, LAYOUT.encode(MAPS[4:]))]]


class Threads(Team):
    """One of two processes of a team on one machine, as threads."""

    def __init__(self, rank: int, board: list[Any], here: threading.Barrier) -> None:
        super().__init__(rank, 2, rank, 2)
        self.board, self.both_are_here = board, here

    def gather(self, value: Any) -> list[Any]:
        self.board[self.rank] = value
        self.both_are_here.wait(20)
        values = list(self.board)
        self.both_are_here.wait(20)
        return values


def keep(root: Path, team: Team, room: Callable[[int], None] = lambda wanted: None) -> None:
    with writers(CacheFolder(root), team, MAPS.nbytes) as writing:
        writing.begin(room, {2: ("key", LAYOUT)}, len(MAPS))
        writing.write(FOUND)
        writing.close()


def in_both(root: Path) -> list[str]:
    """What each of two processes ends with."""
    ends, board, here = ["", ""], [None, None], threading.Barrier(2)

    def work(rank: int) -> None:
        try:
            keep(root, Threads(rank, board, here))
        except ConfigError as error:
            ends[rank] = str(error)

    threads = [threading.Thread(target=work, args=(rank,)) for rank in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return ends


def test_what_all_processes_found_is_found_again(tmp_path: Path) -> None:
    asked: list[int] = []
    keep(tmp_path, Team(), asked.append)
    assert asked == [MAPS.nbytes]
    read = next(StoredActivations(tmp_path / "key", torch.device("cpu")).stream([np.arange(len(MAPS))]))
    assert torch.equal(read, MAPS)


def test_one_process_on_each_machine_writes(tmp_path: Path) -> None:
    assert in_both(tmp_path) == ["", ""]
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


def test_a_full_disk_ends_it_in_all_processes(tmp_path: Path) -> None:
    with files_of_at_most(MAPS.nbytes - 100):
        ends = in_both(tmp_path)
    assert ends[0] == ends[1]
    for words in (
        f"cannot be kept in {tmp_path}",
        "File too large",
        "1.4e-06 GB were to be",
        "training.cache.views to 0",
    ):
        assert words in ends[0]
    assert not list(tmp_path.iterdir())


def test_a_disk_that_sets_nothing_aside_is_full_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def cannot(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("os.posix_fallocate", cannot)
    keep(tmp_path / "there", Team())
    assert CacheFolder(tmp_path / "there").has("key")
    with files_of_at_most(100), pytest.raises(ConfigError, match="File too large"):
        keep(tmp_path / "full", Team())
    assert not list((tmp_path / "full").iterdir())


def test_a_folder_that_cannot_be_moved_into_place_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(folder: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "rename", full)
    with pytest.raises(ConfigError, match="No space left on device"):
        keep(tmp_path, Team())
    assert not list(tmp_path.iterdir())


def test_who_comes_second_keeps_what_is_there(tmp_path: Path) -> None:
    keep(tmp_path, Team())
    before = (tmp_path / "key" / "values.npy").stat().st_ino
    keep(tmp_path, Team())
    assert (tmp_path / "key" / "values.npy").stat().st_ino == before
    assert [path.name for path in tmp_path.iterdir()] == ["key"]
