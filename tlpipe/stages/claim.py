"""A stage is run by one process at a time, also after a kill of DVC alone, which its stage outlives."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tlpipe.config import ConfigError
from tlpipe.locks import WORK, lock_within

PATIENCE = 10.0
"""Seconds that a dying process may still hold its stage."""


@contextmanager
def claimed(stage: str, seconds: float = PATIENCE, root: Path = WORK) -> Iterator[None]:
    """Be the one process that works at a stage's recovery state and outs, inside the block.

    Raises:
        ConfigError: another process does, and still does after `seconds`. It may have outlived a `dvc repro` that was
            killed, and would write the same files.
    """
    root.mkdir(parents=True, exist_ok=True)
    with (root / f"{stage}.lock").open("a+") as file:
        if not lock_within(file, seconds):
            file.seek(0)
            holder = file.read().strip()
            raise ConfigError(
                f"{stage} is being run by process {holder}, which may have outlived a `dvc repro` that was killed: "
                f"let it end, or stop it (`kill {holder}`), then run `dvc repro` again"
            )
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
