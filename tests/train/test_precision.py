"""bf16 on a CPU is chosen by a measurement that is made once."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from torch import Tensor

from tlpipe.backbones.huggingface import width_of
from tlpipe.train import precision


@pytest.mark.parametrize(("measured", "expected"), [(1.6, True), (1.05, False), (0.7, False)])
def test_it_is_measured_once_and_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, measured: float, expected: bool
) -> None:
    calls: list[int] = []

    def speedup(forward: Callable[[], Tensor]) -> float:
        calls.append(1)
        return measured

    monkeypatch.setattr(precision, "cpu_has_bf16", lambda: True)
    monkeypatch.setattr(precision, "speedup", speedup)
    path = tmp_path / "deep/machine.json"
    assert [precision.bf16_pays_on_cpu(None, path) for _ in range(3)] == [expected] * 3
    assert len(calls) == 1
    assert list(json.loads(path.read_text()).values()) == [measured]


def test_each_kind_of_network_is_measured_for_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shapes: list[tuple[int, ...]] = []

    def speedup(forward: Callable[[], Tensor]) -> float:
        shapes.append(tuple(forward().shape))
        return 1.05 if shapes[-1][-1] == 16 else 1.6

    monkeypatch.setattr(precision, "cpu_has_bf16", lambda: True)
    monkeypatch.setattr(precision, "speedup", speedup)
    path = tmp_path / "machine.json"
    assert [precision.bf16_pays_on_cpu(width, path) for width in (None, 16, 48, 16, None)] == [1, 0, 1, 0, 1]
    assert shapes == [(8, 28, 256), (16, 32, 16), (16, 32, 48)]


def test_a_width_is_read_from_every_config() -> None:
    assert [width_of(config) for config in ({"hidden_size": 12}, {"dim": 16}, {})] == [12, 16, 768]


def test_a_processor_without_it_is_not_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "cpu_has_bf16", lambda: False)
    assert not precision.bf16_pays_on_cpu(None, tmp_path / "machine.json")
    assert not (tmp_path / "machine.json").exists()


@pytest.mark.parametrize("forward", [precision.convolutions(), precision.transformer(32)])
def test_the_measurement_measures(forward: Callable[[], Tensor]) -> None:
    assert 0.01 < precision.speedup(forward) < 100
