"""bf16 on a CPU is decided by the hardware and the network, so that a clone of a project computes the same."""

import pytest

from tlpipe.backbones.huggingface import width_of
from tlpipe.train.hardware import precision
from tlpipe.train.hardware.device import Runtime


@pytest.mark.parametrize("has", [True, False])
@pytest.mark.parametrize(("width", "pays"), [(None, True), (16, False), (127, False), (128, True), (768, True)])
def test_the_hardware_and_the_width_decide(monkeypatch: pytest.MonkeyPatch, has: bool, width: int | None, pays: bool):
    monkeypatch.setattr(precision, "cpu_has_bf16", lambda: has)
    assert precision.bf16_pays_on_cpu(width) is (has and pays)
    machine = Runtime(device="cpu", threads=1).resolve(width)
    assert machine.precision == ("bf16" if has and pays else "fp32")


def test_a_width_is_read_from_every_config() -> None:
    assert [width_of(config) for config in ({"hidden_size": 12}, {"dim": 16}, {})] == [12, 16, 768]
