"""Affinity, quotas of both versions of control groups, and OMP_NUM_THREADS: the least of them counts."""

from pathlib import Path

import pytest

from tlpipe import cores
from tlpipe.cores import usable_cores
from tlpipe.data import ingest
from tlpipe.serve.runtime.session import Runtime, session_options


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine of 16 cores without a limit."""
    monkeypatch.setattr(cores, "_affinity", lambda: 16)
    monkeypatch.setattr(cores, "ROOT", tmp_path)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    return tmp_path


def put(root: Path, path: str, text: str) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text)


def test_without_limits_the_affinity_counts(root: Path):
    assert usable_cores() == 16


@pytest.mark.parametrize(
    ("quota", "expected"),
    [("200000 100000", 2), ("150000 100000", 2), ("50000 100000", 1), ("max 100000", 16), ("", 16)],
)
def test_a_container_of_the_second_version(root: Path, quota: str, expected: int):
    put(root, "proc/self/cgroup", "0::/\n")
    put(root, "sys/fs/cgroup/cpu.max", f"{quota}\n")
    assert usable_cores() == expected


def test_the_tightest_group_above_counts(root: Path):
    put(root, "proc/self/cgroup", "0::/kube/pod/one\n")
    put(root, "sys/fs/cgroup/kube/pod/one/cpu.max", "max 100000\n")
    put(root, "sys/fs/cgroup/kube/cpu.max", "300000 100000\n")
    assert usable_cores() == 3


@pytest.mark.parametrize("mount", ["cpu,cpuacct", "cpu"])
def test_a_container_of_the_first_version(root: Path, mount: str):
    put(root, "proc/self/cgroup", "12:memory:/docker/x\n4:cpu,cpuacct:/docker/x\n")
    put(root, f"sys/fs/cgroup/{mount}/cpu.cfs_quota_us", "400000\n")
    put(root, f"sys/fs/cgroup/{mount}/cpu.cfs_period_us", "100000\n")
    assert usable_cores() == 4
    put(root, f"sys/fs/cgroup/{mount}/cpu.cfs_quota_us", "-1\n")
    assert usable_cores() == 16


@pytest.mark.parametrize(
    ("value", "expected"), [("3", 3), ("4,2", 4), ("0", 16), ("-1", 16), ("many", 16), ("", 16), ("64", 16)]
)
def test_the_variable_counts(root: Path, monkeypatch: pytest.MonkeyPatch, value: str, expected: int):
    monkeypatch.setenv("OMP_NUM_THREADS", value)
    assert usable_cores() == expected


def test_there_is_one_count(root: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert ingest.usable_cores() == session_options(Runtime()).intra_op_num_threads == 5
