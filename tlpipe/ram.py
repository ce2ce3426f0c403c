"""How much memory is available to this process: what the machine has free, and what its control groups leave."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tlpipe.cores import control_groups, lines_of

ROOT = Path("/")
"""Of the file system; another one in tests."""
UNLIMITED = 2**60
"""The first version of control groups says a number like this where there is no limit."""


@dataclass(frozen=True, order=True)
class Available:
    """Bytes of memory that can be had, and what says so."""

    bytes: int
    by: str


def available_memory() -> Available | None:
    """The least of what the machine has free (swap included) and what each control group leaves; None = not known."""
    return min((*_machine(), *_groups()), default=None)


def _machine() -> Iterator[Available]:
    values = dict(_pairs(ROOT / "proc/meminfo"))
    if "MemAvailable:" in values:
        free = values["MemAvailable:"] + values.get("SwapFree:", 0)
        yield Available(free * 1024, "of the machine's")


def _groups() -> Iterator[Available]:
    """What a group's files of its own can give back to it counts as free."""
    for version, folder in control_groups(ROOT, "memory"):
        names = ("memory.max", "memory.current") if version == 2 else ("memory.limit_in_bytes", "memory.usage_in_bytes")
        limit, used = (_number(folder / name) for name in names)
        if limit is None or used is None or limit >= UNLIMITED:
            continue
        stat = dict(_pairs(folder / "memory.stat"))
        cached = stat.get("inactive_file" if version == 2 else "total_inactive_file", 0)
        yield Available(max(0, limit - used + cached), "of the control group's (its container's)")


def _number(path: Path) -> int | None:
    text = "".join(lines_of(path)[:1]).strip()
    return int(text) if text.isdigit() else None


def _pairs(path: Path) -> Iterator[tuple[str, int]]:
    for line in lines_of(path):
        words = line.split()
        if len(words) >= 2 and words[1].isdigit():
            yield words[0], int(words[1])
