"""What GPUs refuse, tried without one: fakes that refuse the same."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tlpipe.config import ConfigError
from tlpipe.strategies.unfreeze import TopLayers
from tlpipe.train.cache import activation_cache as frozen
from tlpipe.train.cache.stored_activations import Layout, StoredActivations, Writer
from tlpipe.train.hardware.device import Runtime
from tlpipe.train.hardware.distributed import Team, require_device
from tlpipe.train.inputs import batches
from tlpipe.train.inputs.batches import Rows
from tlpipe.train.spec import STILL, Cache
from tlpipe.train.trainer import checkpoint_selection as selection
from tlpipe.train.trainer import resume as checkpoint
from tlpipe.train.trainer.resume import Keeper

CPU = torch.device("cpu")


def stored(
    folder: Path, dtype: torch.dtype, storage: Any = "exact", held: int = 0
) -> tuple[StoredActivations, torch.Tensor]:
    x = torch.randn(6, 3, generator=torch.Generator().manual_seed(0)).to(dtype)
    layout = Layout.of(x, storage, 1)
    writer = Writer(folder, 6, layout)
    writer.write(0, *layout.encode(x))
    writer.close()
    return StoredActivations(folder, CPU, held), x


def test_kept_activations_can_be_gathered_on_a_gpu(tmp_path: Path) -> None:
    """CUDA gathers no rows of uint16, and bf16 is no type of numpy's: they are stored as int16."""
    kept, x = stored(tmp_path / "kept", torch.bfloat16)
    assert np.load(tmp_path / "kept" / "values.npy").dtype == np.int16
    (read,) = kept.stream([np.array([4, 1])])
    assert torch.equal(read, x[[4, 1]])


def test_arrays_on_a_gpu_share_its_room(monkeypatch: pytest.MonkeyPatch) -> None:
    free = [1000]
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free[0], 0))
    array, gpu = np.zeros(300, np.uint8), torch.device("cuda")
    assert batches._fits(array, gpu, 0)
    free[0] = 700
    assert not batches._fits(array, gpu, 300)
    assert not batches._fits(array, CPU, 0)
    assert Rows(array, CPU).held == 0


def test_a_gpu_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    require_device(1)
    with pytest.raises(ConfigError, match=r"process 3 on this machine would use GPU number 2, and there are 2"):
        require_device(2)


def test_no_process_gets_an_empty_share() -> None:
    assert [Team(rank, 3).share(3) for rank in range(3)] == [slice(0, 1), slice(1, 2), slice(2, 3)]
    with pytest.raises(ConfigError, match=r"a batch of 2 samples cannot be shared out between 3 processes"):
        Team(0, 3).share(2)


def test_checkpoints_for_a_soup_are_kept_on_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    weights = {"w": torch.ones(3), "n": torch.tensor(1)}
    moves: list[tuple[Any, ...]] = []
    real = torch.Tensor.to

    def to(self: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        moves.append((*args, kwargs.get("copy")))
        return real(self, *args, **kwargs)

    monkeypatch.setattr(torch.Tensor, "to", to)
    kept = selection.on_host(weights)
    assert moves == [("cpu", True)] * 2
    weights["w"].zero_()
    assert kept["w"].tolist() == [1, 1, 1]


def test_no_float64_on_apples_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Outputs go to the host before they become double, in evaluation."""
    from tlpipe.evaluate import predict as module

    class OnMps:
        def __init__(self, value: torch.Tensor) -> None:
            self.value = value

        def cpu(self) -> torch.Tensor:
            return self.value

        def double(self) -> torch.Tensor:
            raise TypeError("Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support float64")

    class Fake:
        def __getattr__(self, name: str) -> Any:
            return Fake()

    about, machine, packed = Fake(), Fake(), Fake()
    monkeypatch.setattr(module, "_check", lambda *_: None)
    about.task = type("Task", (), {"said": staticmethod(lambda x: x.softmax(1))})()
    about.temperature = 1.0
    about.preprocess = type("P", (), {"evaluation": staticmethod(lambda x: x)})()
    machine.device, machine.team = CPU, Team()
    machine.place = lambda model: lambda view: OnMps(view)
    packed.preprocess = about.preprocess
    packed.rows = lambda split: np.arange(4)
    packed.samples = np.eye(4, dtype=np.float32)
    packed.targets = type("T", (), {"select": staticmethod(lambda rows, said: said)})()
    monkeypatch.setattr(module, "Fitting", lambda *_: type("F", (), {"pieces": staticmethod(lambda f, x: [f(x)])})())
    model = torch.nn.Identity()
    (said,) = module.predict(model, about, packed, "test", 8, machine)  # type: ignore[arg-type]
    assert said.dtype == np.float32
    assert said.argmax(1).tolist() == [0, 1, 2, 3]


def test_a_state_is_saved_as_often_as_it_may_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(checkpoint.time, "monotonic", lambda: now[0])
    keeper = Keeper("stage", "key", every=30, root=tmp_path)
    real = torch.save

    def slow(*args: Any) -> None:
        real(*args)
        now[0] += 1.0

    monkeypatch.setattr(torch, "save", slow)
    keeper.save({})
    now[0] += 19
    assert not keeper.due(epoch_ends=True)
    now[0] += 1
    assert (keeper.due(epoch_ends=True), keeper.due()) == (True, False)
    now[0] += 10
    assert keeper.due()
    keeper.every = 5
    keeper.save({})
    now[0] += 5
    assert keeper.due(epoch_ends=True)


def test_activations_are_uploaded_once_a_phase(make_trainer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a GPU each `StoredActivations` copies its rows there."""
    opened: list[Path] = []

    class Counted(StoredActivations):
        def __init__(self, folder: Path, *rest: Any) -> None:
            opened.append(folder)
            super().__init__(folder, *rest)

    monkeypatch.setattr(frozen, "StoredActivations", Counted)
    plan = TopLayers(kind="top_layers", layers=1, lr=3e-3, gamma=0.5, epochs=4).plan(("stem", "middle", "top"))
    trainer = make_trainer(plan, augment=STILL, cache=Cache(views=1, noise=0, storage="exact", gigabytes=1))
    list(trainer.run())
    assert len(plan.phases) == 1
    assert len(opened) == len(set(opened)) == 2  # of the training and the validation split, for four epochs


def test_one_process_alone_trains_on_apples_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert Runtime(device="mps", threads=1).resolve().precision == "fp32"
    with pytest.raises(ConfigError, match=r"runtime\.processes: 2 were asked for, and Apple's GPU is one"):
        Runtime(device="mps", threads=1, processes=2).resolve()
