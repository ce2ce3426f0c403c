"""Run a command and watch the memory of it and everything it starts."""

import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO

import psutil

PERIOD = 0.25
"""Seconds between two looks; a look takes some milliseconds of one core."""


@dataclass(frozen=True)
class Peak:
    """Largest sums over a process tree, bytes; pages that processes share are counted once (PSS of Linux)."""

    total: int
    """Everything resident, mapped files included."""
    anonymous: int
    """What only swap could free: weights, activations, buffers. 0 where the system does not tell."""


@dataclass(frozen=True)
class Ran:
    """How a command ended."""

    code: int
    begun: float
    """On the monotonic clock, which all processes of a machine share."""
    seconds: float
    peak: Peak


def run(command: list[str], folder: Path, environment: dict[str, str], log: Path, limit: float = 7200) -> Ran:
    """Run to the end, output into `log`; killed after `limit` seconds, which gives a code other than 0."""
    begun = time.monotonic()
    with log.open("ab") as output, _Watch(command, folder, environment, output) as watch:
        try:
            code = watch.process.wait(timeout=limit)
        except subprocess.TimeoutExpired:
            watch.process.kill()
            code = watch.process.wait() or 1
        seconds = time.monotonic() - begun
    return Ran(code, begun, seconds, watch.peak)


class _Watch:
    def __init__(self, command: list[str], folder: Path, environment: dict[str, str], output: IO[bytes]) -> None:
        self.process = subprocess.Popen(command, cwd=folder, env=environment, stdout=output, stderr=subprocess.STDOUT)
        self.peak = Peak(0, 0)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> "_Watch":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
        if self.process.poll() is None:
            self.process.kill()

    def _look(self) -> None:
        while not self._over.wait(PERIOD):
            total, anonymous = tree_memory(self.process.pid)
            self.peak = Peak(max(self.peak.total, total), max(self.peak.anonymous, anonymous))


def tree_memory(pid: int) -> tuple[int, int]:
    """(all, anonymous) bytes of a process and its descendants; zeros when it is gone."""
    try:
        root = psutil.Process(pid)
        family = [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0, 0
    each = [_memory(process) for process in family]
    return sum(total for total, _ in each), sum(anonymous for _, anonymous in each)


def _memory(process: psutil.Process) -> tuple[int, int]:
    try:
        rollup = Path(f"/proc/{process.pid}/smaps_rollup")
        if not rollup.exists():
            return int(process.memory_info().rss), 0
        fields = dict(line.split(":", 1) for line in rollup.read_text().splitlines()[1:] if ":" in line)
        return _kilobytes(fields["Pss"]), _kilobytes(fields.get("Pss_Anon", "0 kB"))
    except (psutil.Error, OSError, KeyError):
        return 0, 0


def _kilobytes(text: str) -> int:
    return int(text.split()[0]) * 1024
