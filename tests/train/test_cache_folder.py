"""Activations are found whole or not at all, within a limit, and whatever other processes do to them meanwhile."""

import os
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.train.test_stored_activations import MAPS, through
from tlpipe.train.cache.cache_folder import ABANDONED, ABOUT, CacheFolder, DiskSpace, half_of, host
from tlpipe.train.cache.stored_activations import Layout, Writer


def test_nothing_half_written_is_found_and_the_dead_leave_no_rubbish(tmp_path: Path) -> None:
    cache_folder = CacheFolder(tmp_path)
    writer = Writer(cache_folder.folder("a"), 6, Layout.of(MAPS, "half", 1))
    writer.write(0, *writer.layout.encode(MAPS[:3]))
    assert not cache_folder.has("a")
    mine = tmp_path / f"a.half-{host()}-{os.getpid()}"
    of_the_dead = tmp_path / f"b.half-{host()}-999999999"
    of_the_dead.mkdir()
    cache_folder.make_room(0, 0, frozenset())
    assert mine.is_dir()
    assert not of_the_dead.exists()
    writer.abandon()
    assert not list(tmp_path.iterdir())


def test_what_another_machine_writes_is_left_alone_for_a_day(tmp_path: Path) -> None:
    working, forgotten = tmp_path / "a.half-another-999999999", tmp_path / "b.half-another-999999999"
    nameless = tmp_path / "c.half-999999999"
    for folder, age in ((working, ABANDONED - 60), (forgotten, ABANDONED + 60), (nameless, ABANDONED + 60)):
        folder.mkdir()
        os.utime(folder, (time.time() - age, time.time() - age))
    CacheFolder(tmp_path).make_room(0, 0, frozenset())
    assert working.is_dir()
    assert not forgotten.exists()
    assert not nameless.exists()


def test_room_is_made_by_age_and_not_with_what_is_needed(tmp_path: Path) -> None:
    cache_folder = CacheFolder(tmp_path)
    for age, name in ((3, "old"), (2, "needed"), (1, "young")):
        through(tmp_path / name, MAPS, "half")
        os.utime(tmp_path / name, (1000 - age, 1000 - age))
    size = sum(file.stat().st_size for file in (tmp_path / "old").iterdir())
    cache_folder.make_room(size, 3 * size, frozenset({"needed"}))
    assert [cache_folder.has(name) for name in ("old", "needed", "young")] == [False, True, True]
    cache_folder.make_room(size, size, frozenset({"needed"}))
    assert [cache_folder.has(name) for name in ("needed", "young")] == [True, False]


def test_what_is_old_counts_as_room_and_the_reserve_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: free)
    through(tmp_path / "old", MAPS, "half")
    size = sum(file.stat().st_size for file in (tmp_path / "old").iterdir())
    (tmp_path / f"new.half-{host()}-{os.getpid()}").mkdir()
    (tmp_path / f"new.half-{host()}-{os.getpid()}" / "values.npy").write_bytes(b"x" * 50)
    assert CacheFolder(tmp_path).room(300) == DiskSpace(1000, size, 300)
    assert CacheFolder(tmp_path).room(300).bytes == 700 + size
    assert CacheFolder(tmp_path).room(5000 + size).bytes == 0
    assert DiskSpace(3 * 10**9, 0, 10**9).describe() == "2 GB (3 GB free, less 1 GB for recovery states and models)"


def test_the_file_system_of_a_shelf_that_is_not_there_yet_is_looked_at(tmp_path: Path) -> None:
    room = CacheFolder(tmp_path / "not" / "yet").room(0)
    assert room.kept == 0
    assert room.free == pytest.approx(shutil.disk_usage(tmp_path).free, rel=0.1)


def test_what_another_process_deletes_meanwhile_is_no_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache_folder = CacheFolder(tmp_path)
    for name in ("gone", "emptied", "there"):
        through(tmp_path / name, MAPS, "half")
    (tmp_path / f"b.half-{host()}-999999999").mkdir()
    listed = Path.iterdir

    def listing(folder: Path) -> Iterator[Path]:
        found = list(listed(folder))
        if folder == tmp_path:
            shutil.rmtree(tmp_path / "gone", ignore_errors=True)
        if folder == tmp_path / "emptied":
            (folder / ABOUT).unlink(missing_ok=True)
        return iter(found)

    monkeypatch.setattr(Path, "iterdir", listing)
    cache_folder.make_room(10**9, 0, frozenset({"gone"}))
    assert not list(listed(tmp_path))


def test_a_shelf_that_is_not_there_has_nothing_to_delete(tmp_path: Path) -> None:
    CacheFolder(tmp_path / "nowhere").make_room(1, 0, frozenset())


def test_many_make_room_on_one_shelf_at_once(tmp_path: Path) -> None:
    errors: list[BaseException] = []
    done = threading.Event()

    def make_room() -> None:
        try:
            while not done.is_set():
                CacheFolder(tmp_path).make_room(0, 0, frozenset())
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=make_room) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for index in range(50):
            folder = tmp_path / f"key{index}"
            half_of(folder).mkdir()
            for name in ("values.npy", ABOUT):
                (half_of(folder) / name).write_bytes(b"x")
            half_of(folder).rename(folder)
    finally:
        done.set()
        for thread in threads:
            thread.join()
    CacheFolder(tmp_path).make_room(0, 0, frozenset())
    assert not errors
    assert not list(tmp_path.iterdir())
