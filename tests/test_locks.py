"""Locks: one holder at a time, and none after its death."""

from pathlib import Path

from tlpipe.locks import held


def test_one_holder_at_a_time(tmp_path: Path):
    with held(tmp_path / "lock") as first, held(tmp_path / "lock", 0.2) as second:
        assert (first, second) == (True, False)
    with held(tmp_path / "lock") as third:
        assert third
