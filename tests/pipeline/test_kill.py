"""SIGKILL anywhere in a training; `dvc repro` goes on and ends with the same bits."""

import hashlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

pytestmark = pytest.mark.slow
STAGE = "finetune@all_layers"
EPOCHS = 200
"""So many that on a busy machine no training ends between two looks at its state."""


def digest(folder: Path) -> str:
    return hashlib.sha256((folder / "models/finetuned/all_layers/model.safetensors").read_bytes()).hexdigest()


def stage_of(dvc: int) -> int | None:
    """The process of the stage that a `dvc repro` is running: python's own, not the shell that may stand before it."""
    with suppress(psutil.NoSuchProcess):
        for process in psutil.Process(dvc).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                if process.cmdline()[2:4] == ["stage", "finetune"]:
                    return process.pid
    return None


def kill_when(project: Any, ready: Callable[[], bool], delay: float, dvc_first: bool) -> None:
    """Start `dvc repro` of the training; `delay` seconds after `ready()` kill the stage, or dvc alone and then it."""
    log = project.folder.parent / "killed.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            ["dvc", "repro", "-s", STAGE], cwd=project.folder, env=project.environment,
            stdout=output, stderr=output, start_new_session=True,
        )  # fmt: skip
    deadline = time.monotonic() + 240
    stage = None
    while stage is None or not ready():
        stage = stage or stage_of(process.pid)
        assert process.poll() is None, f"the training ended before it could be killed:\n{log.read_text()}"
        assert time.monotonic() < deadline
        time.sleep(0.002)
    time.sleep(delay)
    if dvc_first:
        os.kill(stage, signal.SIGSTOP)  # else it might end before the second one asks
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        second = project.run("dvc", "repro", "-s", STAGE, check=False)
        assert second.returncode != 0
        assert f"finetune-all_layers is being run by process {stage}" in second.stderr
    os.kill(stage, signal.SIGKILL)
    process.wait()
    assert process.returncode != 0, log.read_text()


def test_killed_at_five_points_it_ends_with_the_same_bits(project: Any) -> None:
    project.set({"finetune.all_layers.epochs": EPOCHS, "training.seeds": 1})
    project.repro(STAGE)
    expected = digest(project.folder)
    history = project.folder / "reports/training/all_layers/history.csv"
    lines = len(history.read_text().splitlines())
    work = project.folder / ".tlpipe/work/finetune-all_layers"
    assert not list(work.glob("*/state.pt")), "recovery state is left behind"
    shutil.rmtree(project.folder / ".dvc/cache/runs")
    (project.folder / "dvc.lock").unlink()
    seen: list[int] = []  # when the state was saved that was looked at last

    def saved_again() -> bool:
        now = [path.stat().st_mtime_ns for path in work.glob("*/state.pt")]
        fresh = bool(now) and now != seen
        seen[:] = now
        return fresh

    kill_when(project, lambda: True, delay=0.5, dvc_first=False)
    for delay, dvc_first in ((0, False), (0.02, False), (0.01, True), (0.03, False)):
        kill_when(project, saved_again, delay, dvc_first)
    assert len(list(work.glob("*/state.pt"))) == 1
    project.repro("-s", STAGE)
    assert digest(project.folder) == expected
    assert len(history.read_text().splitlines()) == lines == 1 + 2 + EPOCHS


def workers_of(launcher: int) -> list[int]:
    """The processes that torchrun, inside the stage, has started."""
    return [process.pid for process in psutil.Process(launcher).children()]


@pytest.mark.parametrize("shard", [False, True])
def test_a_killed_worker_is_replaced_and_a_killed_team_goes_on(project: Any, shard: bool) -> None:
    epochs = 30 if shard else 120  # as long as the slower steps need to be killed in between
    team = {"runtime.processes": 2, "runtime.shard": shard}
    project.set({"finetune.all_layers.epochs": epochs, **team})
    project.repro(STAGE)
    expected = digest(project.folder)
    shutil.rmtree(project.folder / ".dvc/cache/runs")
    (project.folder / "dvc.lock").unlink()
    work = project.folder / ".tlpipe/work/finetune-all_layers"
    log = project.folder.parent / "team.log"
    for whole_team in (True, False):
        with log.open("w") as output:
            process = subprocess.Popen(
                ["dvc", "repro", "-s", STAGE], cwd=project.folder, env=project.environment, stdout=output, stderr=output
            )
        stage, deadline = None, time.monotonic() + 240
        before = {path: path.stat().st_mtime_ns for path in work.glob("*/state.pt")}
        while not any(before.get(path) != path.stat().st_mtime_ns for path in work.glob("*/state.pt")):
            stage = stage or stage_of(process.pid)
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        workers = workers_of(stage or 0)
        assert len(workers) == 2
        os.kill((stage or 0) if whole_team else workers[1], signal.SIGKILL)
        assert (process.wait() == 0) is not whole_team, log.read_text()
        gone = time.monotonic() + 20
        while any(Path(f"/proc/{worker}/stat").exists() for worker in workers):
            assert time.monotonic() < gone, "a worker outlives its team"
            time.sleep(0.1)
    assert "resuming after epoch" in log.read_text()
    assert digest(project.folder) == expected
