"""Advisory locks on files, which the system drops when their process dies however it dies."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

WORK = Path(".tlpipe/work")
"""Where stages keep their recovery state, and the locks of those that run."""


def try_lock(file: IO[Any], exclusive: bool = True) -> bool:
    """Lock an open file; False when another process holds it."""
    import fcntl

    try:
        fcntl.flock(file, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def lock_within(file: IO[Any], seconds: float) -> bool:
    """Lock an open file exclusively, waiting at most `seconds` for whoever holds it."""
    deadline = time.monotonic() + seconds
    while not (got := try_lock(file)) and time.monotonic() < deadline:
        time.sleep(0.1)
    return got


@contextmanager
def held(path: Path, seconds: float = 0.0) -> Iterator[bool]:
    """Hold the exclusive lock of `path` inside the block; yields False when it could not be had in `seconds`."""
    with path.open("ab") as file:
        yield lock_within(file, seconds)
