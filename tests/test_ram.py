"""Available memory: the least of what the machine has free and what its control groups leave."""

from pathlib import Path

import pytest

from tests.test_cores import put
from tlpipe import ram
from tlpipe.ram import available_memory

FREE = "MemTotal: 16000 kB\nMemFree: 10 kB\nMemAvailable: 8000 kB\nSwapFree: 500 kB\n"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(ram, "ROOT", tmp_path)
    put(tmp_path, "proc/meminfo", FREE)
    return tmp_path


def available() -> int:
    known = available_memory()
    assert known is not None
    return known.bytes


def test_without_groups_the_machine_counts(root: Path) -> None:
    assert available() == 8500 * 1024
    (root / "proc/meminfo").unlink()
    assert available_memory() is None


def test_a_container_of_the_second_version(root: Path) -> None:
    put(root, "proc/self/cgroup", "0::/kube/pod\n")
    put(root, "sys/fs/cgroup/kube/memory.max", "3000000\n")
    put(root, "sys/fs/cgroup/kube/memory.current", "2000000\n")
    put(root, "sys/fs/cgroup/kube/memory.stat", "anon 5\ninactive_file 250000\n")
    assert available() == 1_250_000
    put(root, "sys/fs/cgroup/kube/memory.max", "max\n")
    assert available() == 8500 * 1024


def test_a_container_of_the_first_version(root: Path) -> None:
    put(root, "proc/self/cgroup", "4:memory:/docker/x\n")
    put(root, "sys/fs/cgroup/memory/docker/x/memory.limit_in_bytes", "9223372036854771712\n")
    put(root, "sys/fs/cgroup/memory/docker/x/memory.usage_in_bytes", "2000000\n")
    assert available() == 8500 * 1024
    put(root, "sys/fs/cgroup/memory/docker/memory.limit_in_bytes", "4000000\n")
    put(root, "sys/fs/cgroup/memory/docker/memory.usage_in_bytes", "5000000\n")
    put(root, "sys/fs/cgroup/memory/docker/memory.stat", "inactive_file 9\ntotal_inactive_file 1500000\n")
    assert available() == 500_000
