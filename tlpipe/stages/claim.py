"""A stage is run by one process at a time, also after a kill of DVC alone, which its stage outlives."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tlpipe.config import ConfigError
from tlpipe.locks import WORK, held

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
    # Not in the lock file itself: where locks are mandatory (Windows), nobody else may read that one.
    holder = root / f"{stage}.pid"
    with held(root / f"{stage}.lock", seconds) as mine:
        if not mine:
            pid = holder.read_text(encoding="utf-8").strip() if holder.is_file() else "?"
            raise ConfigError(
                f"{stage} is being run by process {pid}, which may have outlived a `dvc repro` that was killed: "
                f"let it end, or stop it (`kill {pid}`), then run `dvc repro` again"
            )
        holder.write_text(str(os.getpid()), encoding="utf-8")
        yield
