"""What every strategy of the union promises when it trains: it can be killed, saved, loaded and exported."""

import copy
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
import onnxruntime
import pytest
import torch

from tests import asked, tagged
from tests.train.conftest import make_packed
from tlpipe.backbones.base import Backbone, Encoder
from tlpipe.backbones.letters import Letters
from tlpipe.config import members, parse
from tlpipe.data.packed import Packed
from tlpipe.export.onnx import onnx_model
from tlpipe.strategies import AnyStrategy
from tlpipe.strategies.plan import HEAD, Plan
from tlpipe.tasks.base import Task
from tlpipe.tasks.union import ImageClassification
from tlpipe.train.hardware.device import Machine
from tlpipe.train.heads.all_depths import AllDepths
from tlpipe.train.inputs.batches import Batches
from tlpipe.train.model import About, Classifier, load_model, save_model
from tlpipe.train.spec import STILL, Training
from tlpipe.train.trainer.loop import Trainer
from tlpipe.train.trainer.resume import Keeper
from tlpipe.train.trainer.trainable import adapted, sizes
from tlpipe.train.trainer.validation import CALIBRATED

LETTERS = Letters(width=4)


KEPT = {"views": 1, "noise": 0, "storage": "auto", "gigabytes": 1}


@dataclass(frozen=True)
class World:
    """A task with a network and data for it."""

    task: Task
    backbone: Backbone
    pack: Callable[[Path], Packed]
    recipe: dict[str, Any]


WORLDS = {
    "images": World(ImageClassification(), LETTERS, make_packed, {}),
    "words": World(
        tagged.TASK,
        tagged.BACKBONE,
        lambda folder: tagged.pack_tagged(folder, train=9, validation=4, test=2),
        {"augment": STILL, "cache": KEPT},
    ),
    "questions": World(
        asked.TASK, asked.BACKBONE, lambda folder: asked.pack_asked(folder, 5), {"augment": STILL, "cache": KEPT}
    ),
}
ENDS = {"wise_ft": True, "soup": 2}
ROWS = [{"name": "x", "epochs": 2, "rates": {"*": 1e-2}, "adapt": "norms"}]
EXAMPLES: dict[str, dict[str, Any]] = {
    "head_only": {},
    "all_depth_head": {},
    "all_depth_tuning": {"lr": 0.01, "rho": 0.5, "epochs": 1},
    "top_layers": {"layers": 2, "lr": 1e-2, "gamma": 0.5, "stage_epochs": 1, "epochs": 2, **ENDS},
    "all_layers": {"lr": 1e-2, "gamma": 0.5, "stages": 2, "stage_epochs": 1, "epochs": 2, "l2_sp": "auto", **ENDS},
    "first_block": {"lr": 1e-2, "epochs": 2, **ENDS},
    "norm_only": {"lr": 1e-2, "epochs": 2, **ENDS},
    "lora": {"rank": 2, "lr": 1e-2, "epochs": 2, **ENDS},
    "scratch": {"lr": 1e-2, "epochs": 2, "soup": 2},
    "phases": {"start": "head", "phases": ROWS, **ENDS},
}
TRAINED = [each for each in members(AnyStrategy) if each.settled and each.network]
KINDS = [get_args(each.model_fields["kind"].annotation)[0] for each in TRAINED]
Begin = Callable[[str], Trainer]


@pytest.fixture(params=list(WORLDS))
def world(request: pytest.FixtureRequest) -> World:
    return WORLDS[request.param]


@pytest.fixture
def begin(world: World, machine: Machine, tmp_path: Path, make_training: Callable[..., Training]) -> Begin:
    """A trainer of a kind of strategy in a world, which takes its first epoch for better than its start."""
    packed = world.pack(tmp_path / "packed")

    def make(kind: str) -> Trainer:
        torch.manual_seed(0)
        encoder: Encoder = world.backbone.encoder()
        task, training = world.task, make_training(norm_statistics="source", **world.recipe)
        plan = parse({"kind": kind, **EXAMPLES[kind]}, AnyStrategy, "").plan(encoder.groups)
        if plan.features == "all":
            encoder = AllDepths(encoder, packed.preprocess.example())
        model = Classifier(encoder, task.head(encoder.feature_dim, len(packed.classes), 0.0))
        trainer = Trainer(model, plan, task, training, Batches(packed, machine.device), machine, tmp_path / "cache")
        trainer.at.best = {"accuracy": -1.0, "entity_f1": -1.0, "loss": 99.0, CALIBRATED: 99.0}
        return trainer

    return make


def finish(trainer: Trainer) -> dict[str, torch.Tensor]:
    for _ in trainer.run():
        pass
    return trainer.model.state_dict()


def moving(model: Classifier, plan: Plan) -> set[int]:
    """Identities of the tensors that some phase may move."""
    return {
        id(parameter)
        for phase in plan.phases
        for group in phase.trainable
        for _, parameter in adapted(model, group, phase.adapt if group != HEAD else "all", plan.lora)
    }


@pytest.mark.parametrize("kind", KINDS)
def test_exactly_what_the_plan_trains_changes(begin: Begin, kind: str) -> None:
    trainer = begin(kind)
    before = copy.deepcopy(trainer.model.state_dict())
    may = moving(trainer.model, trainer.plan)
    names = {name for name, parameter in trainer.model.named_parameters() if id(parameter) in may}
    trainer.plan = trainer.plan.model_copy(update={"wise_ft": False, "soup": 0})
    after = finish(trainer)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    buffers = {name for name, _ in trainer.model.named_buffers()}
    assert changed - buffers == names
    assert trainer.plan.start == "random" or not changed & buffers


@pytest.mark.parametrize("kind", KINDS)
def test_killed_at_every_step_it_ends_with_the_same_bits(begin: Begin, kind: str, tmp_path: Path) -> None:
    whole, keeper = begin(kind), Keeper("test", kind, root=tmp_path)
    expected = finish(whole)
    for _ in itertools.count():
        trainer = begin(kind)
        state = keeper.load()
        if state is not None:
            trainer.restore(state)
        if next(iter(trainer.run()), None) is None:
            break
        keeper.save(trainer.state())
    found = trainer.model.state_dict()
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    assert whole.selection.ending == trainer.selection.ending


@pytest.mark.parametrize("kind", KINDS)
def test_its_model_is_saved_loaded_and_exported(begin: Begin, world: World, kind: str, tmp_path: Path) -> None:
    trainer = begin(kind)
    finish(trainer)
    preprocess = trainer.batches.packed.preprocess
    total = sum(size.total for size in sizes(trainer.model, trainer.plan).values())
    assert total == sum(parameter.numel() for parameter in trainer.model.parameters())
    about = About(
        strategy=kind, run_key="0", task=world.task, backbone=world.backbone, preprocess=preprocess,
        labels=trainer.batches.packed.classes, dropout=0.0, temperature=1.3, validation={}, plan=trainer.plan,
        total_parameters=total, trainable_parameters=1, ending=trainer.selection.ending,
    )  # fmt: skip
    save_model(tmp_path / "model", trainer.model, about)
    model, found = load_model(tmp_path / "model")
    assert found == about
    kept, own = model.state_dict(), trainer.model.state_dict()
    assert kept.keys() == own.keys()
    assert all(torch.equal(kept[name], own[name]) for name in own)
    samples = np.array(trainer.batches.packed.samples[:4])
    view = torch.from_numpy(preprocess.evaluation(samples))
    with torch.no_grad():
        truth = model(view)
        trained = trainer.model.eval()(view)
        assert torch.equal(trainer.machine.place(copy.deepcopy(model))(view), trained)
        # the plain layers of the folder, and the quicker ones that the machine has for them, are the same function
        assert torch.allclose(truth, trained, atol=1e-5)
    exported = onnx_model(model, found, 20).SerializeToString()
    session = onnxruntime.InferenceSession(exported, providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_inputs()]
    feeds = {"image": samples} if names == ["image"] else {name: samples[:, at] for at, name in enumerate(names)}
    (said,) = session.run([world.task.outputs[-1]], feeds)
    assert np.abs(said - world.task.said(truth / 1.3).numpy()).max() < 1e-3
