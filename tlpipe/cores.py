"""How many CPU cores this process may use: the one place that counts them.

Containers see all cores of their machine and may use a part of their time: more threads than that part are throttled
together, and the work takes longer than with one.
"""

import math
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

VARIABLE = "OMP_NUM_THREADS"
"""What users and schedulers (SLURM, Ray) limit threads with."""
ROOT = Path("/")
"""Of the file system; another one in tests."""


def usable_cores() -> int:
    """The least of what the affinity, the quota of the control groups and `OMP_NUM_THREADS` allow; at least 1.

    A part of a core that a quota gives counts as a whole one, as in Java and Go.
    """
    limits = [float(_affinity()), *_quotas(ROOT), *_variable(os.environ.get(VARIABLE, ""))]
    return max(1, math.ceil(min(limits)))


def _affinity() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _variable(value: str) -> Iterator[float]:
    first = value.split(",")[0].strip()  # a list has a number for each level of nested loops
    if first.isascii() and first.isdigit() and int(first[:9]) > 0:
        yield float(first[:9])


def _quotas(root: Path) -> Iterator[float]:
    """Cores by the quota of each control group above this process, of both versions."""
    for version, folder in control_groups(root, "cpu"):
        yield from (_second_version if version == 2 else _first_version)(folder)


def control_groups(root: Path, controller: str) -> Iterator[tuple[int, Path]]:
    """Version (1 or 2) and folder of each control group above this process that may limit what `controller` names."""
    for line in lines_of(root / "proc/self/cgroup"):
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and not controllers:
            yield from ((2, folder) for folder in _above(root / "sys/fs/cgroup", path))
        elif controller in controllers.split(","):
            for name in {controllers, controller}:
                yield from ((1, folder) for folder in _above(root / "sys/fs/cgroup" / name, path))


def _above(mount: Path, path: str) -> Iterator[Path]:
    """The folder of a control group and all above it; in a container, with the host's path, only the top exists."""
    parts = [part for part in PurePosixPath(path).parts if part not in ("/", "..")]
    yield from (mount.joinpath(*parts[:length]) for length in range(len(parts), -1, -1))


def _second_version(folder: Path) -> Iterator[float]:
    for line in lines_of(folder / "cpu.max")[:1]:
        yield from _share(*line.split()[:2])


def _first_version(folder: Path) -> Iterator[float]:
    values = [lines_of(folder / name) for name in ("cpu.cfs_quota_us", "cpu.cfs_period_us")]
    if all(values):
        yield from _share(values[0][0], values[1][0])


def _share(quota: str = "max", period: str = "100000") -> Iterator[float]:
    """Quota over period; nothing where there is no limit (`max`, or -1 in the first version)."""
    if quota.isdigit() and period.isdigit() and int(quota) > 0 and int(period) > 0:
        yield int(quota) / int(period)


def lines_of(path: Path) -> list[str]:
    """The lines of a small file; none where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8").split("\n")
    except (OSError, ValueError):
        return []
