"""Which strategy `auto` is, and that a race that was killed ends as one that was not."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from tests.train.conftest import make_encoder, make_packed, make_training
from tlpipe.advise.decision import Contender, Decision, typical
from tlpipe.data.packed import Packed
from tlpipe.stages import race
from tlpipe.stages.race import settle
from tlpipe.stages.training import Run, Setting
from tlpipe.strategies.auto import Advised
from tlpipe.strategies.base import Strategy
from tlpipe.strategies.head_only import HeadOnly
from tlpipe.strategies.scratch import Scratch
from tlpipe.strategies.unfreeze import AllLayers
from tlpipe.tasks.image_classification.spec import ImageClassification
from tlpipe.train.hardware.device import Runtime
from tlpipe.train.heads.head import Head
from tlpipe.train.model import Classifier
from tlpipe.train.spec import Training
from tlpipe.train.trainer.crossfit import PART, SINGLE
from tlpipe.train.trainer.resume import Keeper

GROUPS = ("stem", "middle", "top")
AUTO = Advised(kind="auto", race=True)
GOOD = AllLayers(kind="all_layers", lr=1e-2, gamma=0.9, stages=1, epochs=6)
BAD = Scratch(kind="scratch", lr=1e-7, epochs=8)
HEAD = Head(penalties=(0.1,), balance="none", iterations=10)
Prepare = Callable[[Strategy], list[Run]]


class Begin:
    """The starting models of a small world."""

    def __init__(self, strategy: Strategy) -> None:
        self.plan = strategy.plan(GROUPS)

    def model(self, training: Training, part: int | None = None) -> Classifier:
        torch.manual_seed(1)
        return Classifier(make_encoder(), ImageClassification().head(16, 3, training.dropout))


@pytest.fixture(params=[0, 3], ids=["one split", "three folds"])
def prepare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Prepare:
    """Trainings of a small world, as the finetune stage would make them."""
    monkeypatch.chdir(tmp_path)
    packed: Packed = make_packed(tmp_path / "packed", request.param)
    runtime = Runtime(device="cpu", precision="fp32", threads=1)
    head: Any = SimpleNamespace(task=ImageClassification())
    training = make_training(monitor="accuracy")
    setting = Setting("auto", packed, head, training, runtime, HEAD, runtime.resolve(), ())

    def make(strategy: Strategy) -> list[Run]:
        starts: Any = Begin(strategy)
        role = PART if request.param else SINGLE
        return [Run(setting, strategy, starts, training.seed, role, part) for part in range(len(packed.parts))]

    return make


def alike(first: Any, second: Any) -> bool:
    """Whether two recovery states are equal but for their clocks."""
    if isinstance(first, dict):
        names = first.keys() - {"seconds", "samples_per_second"}
        return first.keys() == second.keys() and all(alike(first[name], second[name]) for name in names)
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(map(alike, first, second))
    return torch.equal(first, second) if isinstance(first, torch.Tensor) else first == second


def decided(*contenders: tuple[str, int, Strategy]) -> None:
    """Write the decision of the advise stage: nothing is known beforehand that could tell the contenders apart."""
    entries = [
        Contender(name=name, epochs=epochs, predicted=0.5, spread=1.0, strategy=strategy)  # type: ignore[arg-type]
        for name, epochs, strategy in contenders
    ]
    Decision(contenders=tuple(entries)).write(race.DECISIONS / "auto.json")


def test_other_strategies_are_what_they_are(prepare: Prepare) -> None:
    assert settle("all_layers", GOOD, prepare) == (GOOD, [])


def test_one_contender_trains_without_a_race(prepare: Prepare) -> None:
    decided(("good", 0, GOOD))
    assert settle("auto", AUTO, prepare) == (GOOD, [])


def test_the_better_one_wins_and_the_other_stops_after_its_lap(prepare: Prepare) -> None:
    decided(("bad", 2, BAD), ("good", 4, GOOD))
    winner, laps = settle("auto", AUTO, prepare)
    assert winner == GOOD
    assert {lap["strategy"]: (lap["epochs"], lap["chosen"]) for lap in laps} == {"bad": (2, False), "good": (4, True)}
    for run in prepare(winner):
        state = run.keeper.load()
        assert state is not None
        assert len(state["history"]) == 4


def test_what_does_not_train_is_compared_with_the_finished_winner(prepare: Prepare) -> None:
    decided(("frozen", 0, HeadOnly(kind="head_only")), ("bad", 1, BAD), ("good", 4, GOOD))
    winner, laps = settle("auto", AUTO, prepare)
    found = {lap["strategy"]: lap for lap in laps}
    assert (found["frozen"]["epochs"], found["good"]["epochs"], found["bad"]["epochs"]) == (0, 6, 1)
    assert winner == max(
        ((found["frozen"]["accuracy"], HeadOnly(kind="head_only")), (found["good"]["accuracy"], GOOD)),
        key=lambda pair: pair[0],
    )[1]  # fmt: skip


def test_what_ends_with_an_interpolation_is_judged_by_its_end(prepare: Prepare) -> None:
    mixed = GOOD.model_copy(update={"wise_ft": True, "epochs": 5})
    decided(("frozen", 0, HeadOnly(kind="head_only")), ("mixed", 0, mixed))
    _, laps = settle("auto", AUTO, prepare)
    judged = next(lap["accuracy"] for lap in laps if lap["strategy"] == "mixed")
    runs = prepare(mixed)
    for run in runs:
        run.advance(None)
    sizes = [len(run.view.rows("validation")) for run in runs]
    assert judged == pytest.approx(np.average([run.scores()["accuracy"] for run in runs], weights=sizes), abs=1e-12)
    epochs = [np.average([epoch.validation["accuracy"] for epoch in alike], weights=sizes)
              for alike in zip(*(run.epochs for run in runs), strict=True)]  # fmt: skip
    assert judged != typical(epochs)


@pytest.mark.parametrize("after", [1, 3, 5, 7])
def test_killed_after_any_epoch_it_ends_the_same_way(
    prepare: Prepare, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    decided(("bad", 2, BAD), ("frozen", 0, HeadOnly(kind="head_only")), ("good", 4, GOOD))
    real, done = Keeper.save, []

    def dying(self: Keeper, state: dict[str, object]) -> None:
        real(self, state)
        done.append(1)
        if len(done) == after:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Keeper, "save", dying)
        with pytest.raises(KeyboardInterrupt):
            settle("auto", AUTO, prepare)
    resumed = settle("auto", AUTO, prepare)
    kept = [run.keeper.load() for run in prepare(resumed[0])]
    for path in Path(".tlpipe/work/finetune-auto").rglob("state.pt"):
        path.unlink()
    fresh = settle("auto", AUTO, prepare)
    expected = [run.keeper.load() for run in prepare(fresh[0])]
    assert resumed[0] == fresh[0]
    assert all(map(alike, kept, expected))
    same = [{key: value for key, value in lap.items() if key != "seconds"} for lap in resumed[1]]
    assert same == [{key: value for key, value in lap.items() if key != "seconds"} for lap in fresh[1]]
