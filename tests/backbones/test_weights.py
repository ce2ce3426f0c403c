import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from tlpipe.backbones.weights import file_hash, fingerprint, head_prefixes, load_backbone, read_state, require_numbers
from tlpipe.config import ConfigError


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
        self.classifier = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 5))


def _state(**changes: torch.Tensor) -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    return Net().state_dict() | changes


HEADS = {"classifier.2."}


@pytest.mark.parametrize(
    ("wrap", "notes"),
    [
        (lambda state: state, []),
        (lambda state: {"state_dict": state, "epoch": 3}, ["unwrapped 'state_dict'"]),
        (lambda state: {"model": {"state_dict": state}}, ["unwrapped 'model'", "unwrapped 'state_dict'"]),
    ],
)
def test_read_state_unwraps_and_says_so(tmp_path: Path, wrap: Callable[[Any], Any], notes: list[str]) -> None:
    torch.save(wrap(_state()), tmp_path / "w.pth")
    state, told = read_state(tmp_path / "w.pth")
    assert told == notes
    assert state.keys() == _state().keys()


def test_read_state_reads_safetensors(tmp_path: Path) -> None:
    save_file(_state(), tmp_path / "w.safetensors")
    state, _ = read_state(tmp_path / "w.safetensors")
    assert all(torch.equal(state[name], value) for name, value in _state().items())


class Trap:
    def __reduce__(self) -> tuple[Any, ...]:
        return (print, ("the pickle ran code",))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (Trap(), "weights_only=True"),
        (Net(), "save `model.state_dict\\(\\)`"),
        ({"optimizer": 3}, "optimizer are not tensors"),
        ([1, 2], "holds list, not a state dict"),
        ({}, "not a state dict"),
    ],
)
def test_read_state_refuses(tmp_path: Path, content: Any, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(ConfigError, match=message):
        read_state(tmp_path / "w.pth")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
def test_read_state_refuses_broken_and_absent_files(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        read_state(tmp_path / name)
    (tmp_path / name).write_bytes(b"not weights at all")
    with pytest.raises(ConfigError, match=r"could not be read|not a readable"):
        read_state(tmp_path / name)


def test_load_takes_everything_but_the_classifier() -> None:
    model, state = Net(), _state()
    before = model.classifier[2].weight.clone()
    loaded = load_backbone(model, HEADS, state, "file")
    assert loaded.skipped == ["classifier.2.bias", "classifier.2.weight"]
    assert loaded.notes == []
    assert torch.equal(model.classifier[0].weight, state["classifier.0.weight"])
    assert torch.equal(model.classifier[2].weight, before)


def test_load_accepts_a_classifier_of_another_shape_or_none() -> None:
    other = _state(**{"classifier.2.weight": torch.zeros(9, 4), "classifier.2.bias": torch.zeros(9)})
    assert load_backbone(Net(), HEADS, other, "file").skipped == ["classifier.2.bias", "classifier.2.weight"]
    none = {name: value for name, value in _state().items() if not name.startswith("classifier.2")}
    assert load_backbone(Net(), HEADS, none, "file") == ([], ["no classifier in the file"])


@pytest.mark.parametrize("prefix", ["module.", "model.", "module._orig_mod."])
def test_load_removes_a_prefix_of_all_names(prefix: str) -> None:
    model, state = Net(), _state()
    loaded = load_backbone(model, HEADS, {prefix + name: value for name, value in state.items()}, "file")
    assert [note.startswith("removed prefix") for note in loaded.notes] == [True] * prefix.count(".")
    assert torch.equal(model.body[0].weight, state["body.0.weight"])


@pytest.mark.parametrize("dtype", [torch.complex64, torch.int8, torch.bool])
def test_load_refuses_values_of_another_kind(dtype: torch.dtype) -> None:
    state = _state()
    name = "body.0.weight"
    state[name] = torch.ones(state[name].shape, dtype=dtype)
    kind = str(dtype).removeprefix("torch.")
    with pytest.raises(ConfigError, match=rf"wrong type: body\.0\.weight \(file {kind}, model float32\)"):
        load_backbone(Net(), HEADS, state, "file")
    load_backbone(Net(), HEADS, _state(**{name: _state()[name].half()}), "file")


def test_load_without_batch_counters_but_not_without_statistics() -> None:
    state = _state()
    del state["body.1.num_batches_tracked"]
    load_backbone(Net(), HEADS, state, "file")
    del state["body.1.running_mean"]
    with pytest.raises(ConfigError, match=r"missing: body\.1\.running_mean"):
        load_backbone(Net(), HEADS, state, "file")


def test_load_names_every_mismatch_and_changes_no_head() -> None:
    state = _state(**{"body.0.weight": torch.zeros(4, 3, 5, 5), "neck.weight": torch.zeros(1)})
    del state["classifier.0.bias"]
    message = (
        r"w\.pth does not fit Net; missing: classifier\.0\.bias; unexpected: neck\.weight; "
        r"wrong shape: body\.0\.weight \(file \(4, 3, 5, 5\), model \(4, 3, 3, 3\)\)"
    )
    with pytest.raises(ConfigError, match=message):
        load_backbone(Net(), HEADS, state, "w.pth")


def test_load_counts_what_it_does_not_list() -> None:
    state = _state() | {f"extra{i}": torch.zeros(1) for i in range(20)}
    with pytest.raises(ConfigError, match=r"extra7 and 12 more"):
        load_backbone(Net(), HEADS, state, "file")


def test_head_prefixes_stop_where_the_encoder_begins() -> None:
    model = Net()
    assert head_prefixes(model, nn.Sequential(model.body, model.classifier[0])) == {"classifier.2."}
    assert head_prefixes(model, model.body) == {"classifier."}


def test_hashes(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"abc")
    assert file_hash(tmp_path / "f") == hashlib.sha256(b"abc").hexdigest()
    torch.manual_seed(1)
    first = Net()
    torch.manual_seed(1)
    second = Net()
    assert fingerprint(first) == fingerprint(second)
    with torch.no_grad():
        second.body[1].running_mean[0] += 1e-3
    assert fingerprint(first) != fingerprint(second)


def circle() -> dict[str, Any]:
    state: dict[str, Any] = {}
    state["model"] = state
    return state


@pytest.mark.filterwarnings("ignore:.*sparse.*")
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (circle(), "inside of itself"),
        ({"model": circle()}, "inside of itself"),
        ({"w": torch.eye(3).to_sparse()}, "sparse or without values .w"),
        ({"x" * 70_000: 1}, "are not tensors"),
        (Trap(), "it holds .*print, which is more than tensors"),
    ],
)
def test_hostile_files_are_refused_in_a_sentence(tmp_path: Path, content: Any, message: str) -> None:
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(ConfigError, match=message) as caught:
        read_state(tmp_path / "w.pth")
    assert len(str(caught.value)) < 2000
    assert "weights_only=False" not in str(caught.value)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused(value: float) -> None:
    net = Net()
    net.register_buffer("mask", torch.tensor([0.0, -float("inf")]))
    require_numbers(net, "w.pth")
    with torch.no_grad():
        net.body[0].weight[0, 0, 0, 0] = value
    with pytest.raises(ConfigError, match=r"w.pth: 1 tensors hold values that are no finite numbers \(body.0.weight\)"):
        require_numbers(net, "w.pth")
