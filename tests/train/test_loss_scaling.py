"""fp16: the loss is scaled, steps that overflow are skipped, and a killed training ends with the same bits."""

import copy
import itertools
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.train.conftest import make_encoder, make_training
from tlpipe.config import ConfigError
from tlpipe.data.packed import Packed
from tlpipe.strategies.scratch import Scratch
from tlpipe.strategies.unfreeze import AllLayers, TopLayers
from tlpipe.tasks.image_classification.spec import ImageClassification
from tlpipe.train.cache import activation_cache as frozen
from tlpipe.train.cache.stored_activations import Layout
from tlpipe.train.hardware import precision
from tlpipe.train.hardware.device import Machine, Runtime
from tlpipe.train.hardware.distributed import Team
from tlpipe.train.inputs.batches import Batches
from tlpipe.train.model import Classifier
from tlpipe.train.trainer import loss_scaling as scaling
from tlpipe.train.trainer import optimizer
from tlpipe.train.trainer.events import Epoch, Notice
from tlpipe.train.trainer.loop import Trainer
from tlpipe.train.trainer.loss_scaling import LossScaling
from tlpipe.train.trainer.resume import Keeper

GROUPS = ("stem", "middle", "top")
STAGED = AllLayers(kind="all_layers", lr=3e-3, gamma=0.5, stages=2, stage_epochs=1, epochs=1).plan(GROUPS)
TOP = TopLayers(kind="top_layers", layers=1, lr=3e-3, gamma=0.5, epochs=3).plan(GROUPS)
CPU = torch.device("cpu")
Make = Callable[..., Trainer]


@pytest.fixture
def halved(packed: Packed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Trainers in fp16 on the CPU, which has all that fp16 needs but speed."""
    monkeypatch.setattr(frozen, "hash_code", lambda stage: "code")
    Runtime(device="cpu", precision="fp32", threads=1).resolve()
    machine = Machine(CPU, torch.float16, compile_model=False)

    def make(plan: object, **changes: object) -> Trainer:
        training, task = make_training(**changes), ImageClassification()
        model = Classifier(make_encoder(), task.head(16, len(packed.classes), training.dropout))
        return Trainer(model, plan, task, training, Batches(packed, CPU), machine, tmp_path / "cache")  # type: ignore[arg-type]

    return make


def test_it_learns(halved: Make) -> None:
    trainer = halved(Scratch(kind="scratch", lr=5e-3, epochs=12).plan(GROUPS), dropout=0.0)
    epochs = [event for event in trainer.run() if isinstance(event, Epoch)]
    assert max(epoch.validation["accuracy"] for epoch in epochs) >= 0.9
    assert trainer.machine.precision == "fp16"
    assert {each.dtype for each in trainer.model.parameters()} == {torch.float32}


@pytest.mark.parametrize("ema", [None, 0.9])
def test_steps_that_overflow_are_skipped_and_the_schedule_goes_on(
    halved: Make, monkeypatch: pytest.MonkeyPatch, ema: float | None
) -> None:
    monkeypatch.setattr(scaling, "FIRST", 2.0**22)
    trainer = halved(Scratch(kind="scratch", lr=5e-3, epochs=4).plan(GROUPS), ema=ema, dropout=0.0)
    before, factors, moved = copy.deepcopy(trainer.model.state_dict()), list[float](), list[bool]()
    step = optimizer.Update.step

    def watched(self: optimizer.Update, phase: object, factor: float) -> bool:
        factors.append(factor)
        moved.append(step(self, phase, factor))  # type: ignore[arg-type]
        if not any(moved):
            after = self.model.state_dict()
            assert all(
                torch.equal(after[name], value)
                for name, value in before.items()
                if "running" not in name and "num_b" not in name
            )
        return moved[-1]

    monkeypatch.setattr(optimizer.Update, "step", watched)
    events = list(trainer.run())
    skipped = moved.count(False)
    assert 0 < skipped < len(moved) == trainer.at.steps
    assert not moved[0]
    assert moved[-1]
    (notice,) = [event.text for event in events if isinstance(event, Notice)]
    assert f"{skipped} steps were skipped" in notice
    peak = factors.index(max(factors))
    assert factors[peak:] == sorted(factors[peak:], reverse=True)  # cosine, as if no step had been skipped
    assert factors[-1] < 0.02
    moments = trainer.update.optimizer.state_dict()["state"]
    assert {int(each["step"]) for each in moments.values()} == {len(moved) - skipped}
    assert trainer.update.scaling.state()["scale"] == 2.0**22 / 2**skipped
    if ema:
        assert trainer.average.steps == 0  # begun again at the phase's end


@pytest.mark.parametrize("first", [scaling.FIRST, 2.0**22])
def test_interrupted_at_every_step_it_ends_with_the_same_bits(
    halved: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: float
) -> None:
    monkeypatch.setattr(scaling, "FIRST", first)
    monkeypatch.setattr(scaling, "GROWTH", 5)  # so that the factor also grows
    whole = halved(STAGED, ema=0.9)
    list(whole.run())
    keeper = Keeper("test", "key", root=tmp_path)
    for _ in itertools.count():
        trainer = halved(STAGED, ema=0.9)
        state = keeper.load()
        if state is not None:
            trainer.restore(state)
        if next(iter(trainer.run()), None) is None:
            break
        keeper.save(trainer.state())
    one, other = whole.model.state_dict(), trainer.model.state_dict()
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert trainer.update.scaling.state() == whole.update.scaling.state()
    assert whole.update.scaling.state()["scale"] != first


def test_kept_activations_of_fp16_come_back_as_they_were() -> None:
    x = torch.randn(4, 3, 5).half()
    for storage in ("exact", "half", "int8"):
        layout = Layout.of(x, storage, 1)  # type: ignore[arg-type]
        again = layout.again(layout.encode(x), CPU)
        assert again.dtype is torch.float16
        assert torch.equal(again, x) or storage == "int8"


def test_a_kept_training_is_the_fresh_one(halved: Make) -> None:
    from tlpipe.train.spec import STILL, Cache

    cache = {views: Cache(views=views, noise=0, storage="exact", gigabytes=1) for views in (0, 1)}
    trainers = [halved(TOP, augment=STILL, cache=each, dropout=0.0) for each in cache.values()]
    for trainer in trainers:
        list(trainer.run())
    one, other = (trainer.model.state_dict() for trainer in trainers)
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_other_precisions_scale_nothing() -> None:
    plain, loss = LossScaling(CPU, torch.bfloat16), torch.ones(())
    assert plain.scaled(loss) is loss
    assert plain.step([], lambda: None)
    assert plain.state() == {}


def on_cuda(monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int]) -> None:
    """This machine has a GPU of that compute capability."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None: capability)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: capability >= (8, 0))


@pytest.mark.parametrize(
    ("capability", "chosen", "shared"),
    [((6, 1), "fp32", "fp32"), ((7, 0), "fp16", "fp32"), ((7, 5), "fp16", "fp32"), ((8, 0), "bf16", "bf16"),
     ((9, 0), "bf16", "bf16")],
)  # fmt: skip
def test_auto_takes_what_the_gpu_is_fast_in(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], chosen: str, shared: str
) -> None:
    on_cuda(monkeypatch, capability)
    monkeypatch.setattr("tlpipe.train.hardware.device.repeat_bits", lambda: None)
    assert Runtime(device="cuda", threads=1).resolve().precision == chosen
    assert Runtime(device="cuda", threads=1, precision="fp16").resolve().precision == "fp16"
    dtype = precision.fastest(torch.device("cuda"), None, shared=True)
    assert Machine(CPU, dtype, compile_model=False).precision == shared


@pytest.mark.parametrize("runtime", [Runtime(device="cpu", precision="fp16")])
def test_fp16_where_it_is_not_for_is_refused(monkeypatch: pytest.MonkeyPatch, runtime: Runtime) -> None:
    with pytest.raises(ConfigError, match=r"runtime.precision: fp16 was asked for, and this is to run on cpu; allowed"):
        runtime.resolve()
    on_cuda(monkeypatch, (7, 5))
    monkeypatch.setattr("tlpipe.train.hardware.device.repeat_bits", lambda: None)
    monkeypatch.setattr("tlpipe.train.hardware.device.team", lambda: Team(0, 2))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    shared = Runtime(device="cuda", precision="fp16", processes=2, shard=True, threads=1)
    with pytest.raises(ConfigError, match="fp16 was asked for, and this shares weights out between processes"):
        shared.resolve()
    assert shared.model_copy(update={"shard": False}).resolve().precision == "fp16"


def test_equal_bits_on_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a GPU would do in another order is asked for in one order, before CUDA starts."""
    on_cuda(monkeypatch, (8, 0))
    monkeypatch.delenv(precision.WORKSPACE, raising=False)
    before = torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic
    torch.backends.cudnn.benchmark = True
    try:
        Runtime(device="cuda", threads=1).resolve()
        assert precision.os.environ[precision.WORKSPACE] == ":4096:8"
        assert (torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic) == (False, True)
        assert torch.are_deterministic_algorithms_enabled()
        assert torch.is_deterministic_algorithms_warn_only_enabled()
    finally:
        monkeypatch.delenv(precision.WORKSPACE, raising=False)
        torch.set_deterministic_debug_mode("default")
        torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = before
