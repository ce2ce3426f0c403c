"""DVC's file of read and write locks, which a kill while DVC rewrites it leaves half written: recognised and healed.

DVC (3.67) writes `.dvc/tmp/rwlock` in place, a hundred kilobytes for a pipeline like this one. After a kill in the
middle no `dvc` command works again ("JSON structure is corrupted"). Without the file DVC begins with no locks.
"""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

from tlpipe.locks import held

FILE, GUARD = "rwlock", "rwlock.lock"
PATIENCE = 2.0
"""Seconds for a process that rewrites the file just now."""


def heal(project: Path) -> str | None:
    """Remove a half-written lock file, if no live process can hold a lock in it; returns what was done or found."""
    folder = next((each / ".dvc/tmp" for each in (project, *project.parents) if (each / ".dvc").is_dir()), None)
    if folder is None or not _broken(folder / FILE):
        return None
    with held(folder / GUARD, PATIENCE) as mine:
        if not mine:
            return f"{folder / FILE} is half written, and another process is at it: wait for it to end, then try again"
        if not _broken(folder / FILE):
            return None
        if holders := sorted({*_named(folder / FILE), *_at_work(folder.parents[1])}):
            who = ", ".join(map(str, holders))
            return f"{folder / FILE} is half written, and a live process may hold a lock in it (pid {who}): let it end"
        (folder / FILE).unlink(missing_ok=True)
    return f"removed {folder / FILE}, which a killed dvc had left half written; no live process held a lock in it"


def _broken(path: Path) -> bool:
    """Whether DVC would refuse the file."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return False
    except ValueError:
        return True
    return not isinstance(content, dict) or not {"read", "write"} >= content.keys()


def _named(path: Path) -> Iterator[int]:
    """Live processes that what is left of the file names."""
    text = path.read_bytes().decode("utf-8", "replace")
    yield from (int(pid) for pid in set(re.findall(r'"pid": (\d{1,9})\b', text)) if _alive(int(pid)))


def _at_work(root: Path) -> Iterator[int]:
    """Live processes of dvc in the project, as far as the system tells; their part of the file may be lost."""
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")[:4]
            here = (entry / "cwd").resolve()
        except OSError:
            continue
        if any(Path(os.fsdecode(word)).name == "dvc" for word in words) and root in (here, *here.parents):
            yield int(entry.name)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
