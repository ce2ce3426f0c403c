"""Whether the disk has room, before it is written full."""

import shutil
from pathlib import Path

from tlpipe.config import ConfigError


def check_space(folder: Path, needed: int, what: str) -> None:
    """Raise ConfigError when `what` needs more than the `needed` bytes that are free where `folder` is."""
    there = next(above for above in (folder.resolve(), *folder.resolve().parents) if above.is_dir())
    free = shutil.disk_usage(there).free
    if needed > free:
        raise ConfigError(
            f"{what} need {needed / 1e9:.1f} GB of disk for a while, twice what the packed array takes; "
            f"{folder.parent.resolve()} has {free / 1e9:.1f} GB free"
        )
