"""A lock file that a kill left half written is removed, but only if no live process can hold a lock in it."""

import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tlpipe import dvc_lock
from tlpipe.dvc_lock import heal

DEAD = 2**22 + 1
"""Above the largest process id that Linux gives."""


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    (tmp_path / ".dvc/tmp").mkdir(parents=True)
    (tmp_path / "sub").mkdir()
    return tmp_path / ".dvc/tmp/rwlock"


def content(pid: int) -> str:
    return json.dumps({"read": {"/a": [{"pid": pid, "cmd": "dvc repro"}]}, "write": {}})


@pytest.mark.parametrize("text", ["", content(DEAD)[:60], '{"read": 1', "[]", '{"other": {}}', "\0" * 100])
def test_a_half_written_file_is_removed(lock: Path, text: str):
    lock.write_text(text)
    assert "removed" in str(heal(lock.parents[2] / "sub"))
    assert not lock.exists()
    assert heal(lock.parents[2]) is None


def test_a_whole_one_is_left_alone(lock: Path):
    lock.write_text(content(DEAD))
    assert heal(lock.parents[2]) is None
    assert lock.read_text() == content(DEAD)


def test_not_while_a_process_that_it_names_lives(lock: Path):
    lock.write_text(content(os.getpid())[:-4])
    assert f"pid {os.getpid()}" in str(heal(lock.parents[2]))
    assert lock.exists()


def test_not_while_a_dvc_works_in_the_project(lock: Path):
    lock.write_text("")
    program = lock.parents[2] / "dvc"
    program.write_text("import sys, time; print(1, flush=True); time.sleep(60)")
    worker = subprocess.Popen([sys.executable, program], cwd=lock.parents[2] / "sub", stdout=subprocess.PIPE)
    try:
        assert worker.stdout is not None
        worker.stdout.read(1)
        assert f"pid {worker.pid}" in str(heal(lock.parents[2]))
        assert lock.exists()
    finally:
        worker.kill()
        worker.communicate()


def test_not_while_it_is_being_rewritten(lock: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(dvc_lock, "PATIENCE", 0.0)
    lock.write_text("")
    with (lock.parent / "rwlock.lock").open("w") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        assert "another process is at it" in str(heal(lock.parents[2]))
    assert lock.exists()


def test_no_project_no_work(tmp_path: Path):
    assert heal(tmp_path) is None
