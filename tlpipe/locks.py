"""File lock between processes, which the system drops when its holder dies however it dies (`filelock`)."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

WORK = Path(".tlpipe/work")
"""Where stages keep their recovery state, and the locks of those that run."""


@contextmanager
def held(path: Path, seconds: float = 0.0) -> Iterator[bool]:
    """Hold the exclusive lock of `path` inside the block; yields False when it could not be had in `seconds`."""
    lock = FileLock(path, thread_local=False)
    got = acquire(lock, seconds)
    try:
        yield got
    finally:
        if got:
            lock.release()


def acquire(lock: FileLock, seconds: float = 0.0) -> bool:
    """Take a lock, waiting at most `seconds` for whoever holds it; False when it could not be had."""
    try:
        lock.acquire(seconds, poll_interval=0.1)
    except Timeout:
        return False
    return True
