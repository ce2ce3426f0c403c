"""bf16 on a CPU is chosen by a measurement that is made once."""

import json
from pathlib import Path

import pytest

from tlpipe.train import precision


@pytest.mark.parametrize(("measured", "expected"), [(1.6, True), (1.05, False), (0.7, False)])
def test_it_is_measured_once_and_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, measured: float, expected: bool
) -> None:
    calls: list[int] = []

    def speedup() -> float:
        calls.append(1)
        return measured

    monkeypatch.setattr(precision, "cpu_has_bf16", lambda: True)
    monkeypatch.setattr(precision, "speedup", speedup)
    path = tmp_path / "deep/machine.json"
    assert [precision.bf16_pays_on_cpu(path) for _ in range(3)] == [expected] * 3
    assert len(calls) == 1
    assert list(json.loads(path.read_text()).values()) == [measured]


def test_a_processor_without_it_is_not_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "cpu_has_bf16", lambda: False)
    assert not precision.bf16_pays_on_cpu(tmp_path / "machine.json")
    assert not (tmp_path / "machine.json").exists()


def test_the_measurement_measures() -> None:
    assert 0.01 < precision.speedup() < 100
