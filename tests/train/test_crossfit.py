"""Cross-fitting: what is held out was not learnt from, choices are pooled, and what ships has learnt from all."""

import json
import math
from collections.abc import Callable
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch.nn import functional

from tests.train.conftest import make_encoder, make_packed, make_training
from tlpipe.data.packed import Packed
from tlpipe.strategies.plan import Plan
from tlpipe.strategies.unfreeze import AllLayers
from tlpipe.tasks.image_classification.spec import ImageClassification
from tlpipe.train.cache.embed import Features
from tlpipe.train.hardware.device import Machine
from tlpipe.train.heads.head import Head, Solution
from tlpipe.train.heads.linear import cross_fit
from tlpipe.train.inputs.batches import Batches
from tlpipe.train.model import Classifier
from tlpipe.train.trainer.crossfit import PART, HeldOut, Role, choose, labels_of
from tlpipe.train.trainer.events import Epoch
from tlpipe.train.trainer.initial_models import PARTS, save_parts
from tlpipe.train.trainer.loop import Trainer
from tlpipe.train.trainer.validation import lower_is_better, monitored
from tlpipe.train.trainer.weight_averaging import ALPHAS

HEAD = Head(penalties=(1.0, 0.1, 0.01), balance="none", iterations=500)
GROUPS = ("stem", "middle", "top")
PLAN = AllLayers(kind="all_layers", lr=1e-2, gamma=0.9, stages=1, epochs=2).plan(GROUPS)


@pytest.fixture
def folded(tmp_path: Path) -> Packed:
    return make_packed(tmp_path / "folded", folds=3)


def features_like(packed: Packed, folder: Path, widths: dict[str, int], informative: str) -> Features:
    """Noise at every depth but one, which tells the class of most samples."""
    folder.mkdir()
    generator = np.random.default_rng(0)
    for group, width in widths.items():
        values = generator.normal(size=(packed.labelled, width)).astype(np.float32)
        if group == informative:
            values[np.arange(packed.labelled), packed.labels[: packed.labelled]] += 2.5
        np.save(folder / f"{group}.npy", values)
    (folder / "features.json").write_text(json.dumps({"groups": list(widths)}))
    return Features.open(folder)


def test_parts_hold_out_every_labelled_row_once_and_learn_from_the_others(folded: Packed):
    held = [part.rows("validation").tolist() for part in folded.parts]
    assert list(chain(*held)) == list(range(folded.labelled)) == folded.pooled.rows("validation").tolist()
    for part, rows in zip(folded.parts, held, strict=True):
        assert sorted([*part.rows("train").tolist(), *rows]) == list(range(folded.labelled))
        assert part.rows("test").tolist() == folded.rows("test").tolist()
    assert folded.whole.rows("train").tolist() == list(range(folded.labelled))
    assert folded.whole.rows("validation").tolist() == []
    assert (folded.learnt, folded.labelled) == (42, 42)


def test_one_split_is_one_part_and_is_refitted_on_if_the_data_say_so(packed: Packed):
    assert packed.parts == (packed,)
    assert packed.pooled is packed
    assert (packed.learnt, packed.whole.rows("train").tolist()) == (30, list(range(42)))


def test_held_out_logits_are_those_of_heads_that_have_not_seen_the_sample(folded: Packed, tmp_path: Path):
    features = features_like(folded, tmp_path / "features", {"top": 6}, "top")
    found = cross_fit(HEAD, folded, features, ["top"])
    x, y = features.at("top").astype(np.float64), folded.labels[: folded.labelled]
    losses = []
    for penalty in HEAD.penalties:
        logits = []
        for part in folded.parts:
            rows, held = part.rows("train"), part.rows("validation")
            mean, scale = x[rows].mean(0), x[rows].std(0)
            reference = LogisticRegression(C=1 / (penalty * len(rows)), tol=1e-10, max_iter=5000)
            reference.fit((x[rows] - mean) / scale, y[rows])
            logits.append(reference.decision_function((x[held] - mean) / scale))
        joined = torch.from_numpy(np.concatenate(logits))
        losses.append(float(functional.cross_entropy(joined, torch.from_numpy(y))))
        if penalty == found.fitted.penalty:
            assert torch.allclose(found.logits.softmax(1), joined.softmax(1), atol=1e-5)
    assert [point.validation_loss for point in found.fitted.path] == pytest.approx(losses, abs=1e-6)
    assert found.fitted.penalty == HEAD.penalties[int(np.argmin(losses))]
    ((weight, bias),) = [(s.weight, s.bias) for s in HEAD.path((torch.from_numpy(x), torch.from_numpy(y)), 3)
                         if s.penalty == found.fitted.penalty]  # fmt: skip
    assert torch.allclose(found.fitted.weight, weight)
    assert torch.allclose(found.fitted.bias, bias)


@pytest.mark.parametrize(("informative", "tilt"), [("stem", 0.0), ("top", math.inf)])
def test_the_tilt_is_chosen_out_of_fold(informative: str, tilt: float, folded: Packed, tmp_path: Path):
    features = features_like(folded, tmp_path / "features", {"stem": 60, "top": 60}, informative)
    assert cross_fit(HEAD, folded, features, features.groups, [60, 60]).tilt == tilt


def test_heads_of_parts_come_back(tmp_path: Path):
    parts = tuple(Solution(0.1, torch.full((3, 4), float(at)), torch.full((3,), float(at)), 0.0) for at in range(2))
    save_parts(tmp_path, parts)
    assert (tmp_path / PARTS).is_file()


Make = Callable[..., Trainer]


@pytest.fixture
def make(machine: Machine, tmp_path: Path) -> Make:
    def trainer(packed: Packed, role: Role, plan: Plan = PLAN, **changes: object) -> Trainer:
        task = ImageClassification()
        model = Classifier(make_encoder(), task.head(16, 3, 0.1))
        training, batches = make_training(**changes), Batches(packed, machine.device)
        return Trainer(model, plan, task, training, batches, machine, tmp_path / "cache", role)

    return trainer


def run(trainer: Trainer) -> list[Epoch]:
    return [event for event in trainer.run() if isinstance(event, Epoch)]


def test_a_part_records_what_it_holds_out_after_each_epoch(folded: Packed, make: Make):
    trainer = make(folded.parts[1], PART)
    untrained = trainer.scores()[0].float()
    epochs = run(trainer)
    recorded = trainer.held_out.epochs
    assert len(recorded) == 3
    assert torch.equal(recorded[0], untrained)
    assert torch.equal(recorded[-1], trainer.scores()[0].float())
    logits, labels = recorded[-1].double(), trainer.scores()[1]
    assert trainer.task.scores(logits, labels, folded.parts[1])["loss"] == pytest.approx(epochs[-1].validation["loss"])


def test_a_refit_stops_where_it_is_told_on_the_way_of_the_whole_schedule(folded: Packed, make: Make):
    whole, stopped = make(folded.whole, Role("last")), make(folded.whole, Role("last", stop=1))
    states = []
    for event in whole.run():
        if isinstance(event, Epoch):
            states.append({name: value.clone() for name, value in whole.model.state_dict().items()})
    epochs = run(stopped)
    assert len(epochs) == 1
    assert epochs[0].validation == {}
    assert all(torch.equal(value, states[0][name]) for name, value in stopped.model.state_dict().items())
    assert any(not torch.equal(value, states[0][name]) for name, value in states[1].items())


def test_no_epoch_at_all_is_the_start(folded: Packed, make: Make):
    trainer = make(folded.whole, Role("last", stop=0))
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    assert run(trainer) == []
    assert all(torch.equal(value, before[name]) for name, value in trainer.model.state_dict().items())


@pytest.mark.parametrize("ending", [{}, {"wise_ft": True}, {"soup": 2}])
def test_killed_at_every_step_a_part_ends_with_the_same_record(ending: dict[str, object], folded: Packed, make: Make):
    plan = PLAN.model_copy(update=ending)
    straight = make(folded.parts[0], PART, plan, ema=0.9)
    run(straight)
    for kill in range(0, 9, 2):
        killed = make(folded.parts[0], PART, plan, ema=0.9)
        for at, _ in enumerate(killed.run()):
            if at == kill:
                break
        state = killed.state()
        resumed = make(folded.parts[0], PART, plan, ema=0.9)
        resumed.restore(state)
        run(resumed)
        want, got = straight.held_out.state(), resumed.held_out.state()
        assert all(torch.equal(a, b) for key in ("epochs", "blended") for a, b in zip(want[key], got[key], strict=True))
        assert want["ended"] is None or torch.equal(want["ended"], got["ended"])


def test_kept_activations_are_shared_by_all_parts_and_the_refit(folded: Packed, make: Make, tmp_path: Path):
    rates = {"stem": None, "middle": None, "top": 1e-2, "head": 1e-2}
    phase = PLAN.phases[0].model_copy(update={"rates": rates})
    plan, changes = PLAN.model_copy(update={"phases": (phase,)}), {"augment": {
        "flip": True, "zoom": (1, 1), "rotate": 0, "shift": 0, "brightness": 0, "mixup": 0, "cutmix": 0}}  # fmt: skip
    run(make(folded.parts[0], PART, plan, **changes))
    first = sorted(path.name for path in (tmp_path / "cache").iterdir() if path.is_dir())
    assert first
    for view, role in ((folded.parts[1], PART), (folded.parts[2], PART), (folded.whole, Role("last"))):
        run(make(view, role, plan, **changes))
    assert sorted(path.name for path in (tmp_path / "cache").iterdir() if path.is_dir()) == first


def held(*logits: torch.Tensor, **more: list[torch.Tensor]) -> HeldOut:
    return HeldOut(epochs=list(logits), **more)  # type: ignore[arg-type]


def records(packed: Packed, scales: list[list[float]]) -> list[tuple[HeldOut, list[Epoch]]]:
    """Logits that are right and surer or wrong and surer, by part and epoch."""
    made = []
    for part, row in zip(packed.parts, scales, strict=True):
        labels = torch.from_numpy(packed.labels[part.rows("validation")])
        logits = [scale * functional.one_hot(labels, 3).float() for scale in row]
        epochs = [Epoch(at, "x", at, 1.0, {}, 0.1, 0.1, 2.0, 10.0) for at in range(1, len(row))]
        made.append((held(*logits), epochs))
    return made


def test_the_last_epoch_stays_unless_the_best_is_asked_for(folded: Packed):
    # one part likes the second epoch best; all of them together the first
    parts = records(folded, [[1.0, 3.0, 4.0], [1.0, 3.0, -9.0], [1.0, 3.0, 2.0]])
    task = ImageClassification()
    last = choose(task, PLAN, make_training(), folded, parts)
    best = choose(task, PLAN, make_training(keep="best"), folded, parts)
    assert (last.epoch, best.epoch, best.role.stop) == (2, 1, 1)
    assert torch.equal(best.logits.argmax(1), labels_of(folded))
    assert not torch.equal(last.logits, best.logits)
    assert [epoch.seconds for epoch in best.history] == [6.0, 6.0]
    expected = functional.cross_entropy(best.logits, labels_of(folded))
    assert best.history[0].validation["loss"] == pytest.approx(float(expected))


@pytest.mark.parametrize("monitor", ["loss", "brier", "auroc", "accuracy"])
def test_epochs_of_parts_are_compared_by_the_monitored_figure_of_all_held_out_together(folded: Packed, monitor: str):
    # the last epoch is wrong of one part; whatever is monitored, an epoch before it is better, and of equals the later
    parts = records(folded, [[0.1, 3.0, 4.0], [0.1, 3.0, -9.0], [0.1, 3.0, 2.0]])
    task, training = ImageClassification(), make_training(keep="best", monitor=monitor)
    chosen = choose(task, PLAN, training, folded, parts)
    assert chosen.epoch == 1
    name = monitored(task, monitor)
    assert all(name in epoch.validation for epoch in chosen.history)
    better = chosen.history[0].validation[name] > chosen.history[1].validation[name]
    assert better is not lower_is_better(name)


def test_no_part_ends_early(folded: Packed, make: Make):
    phase = PLAN.phases[0].model_copy(update={"rates": dict.fromkeys(PLAN.phases[0].rates, 1e-9), "epochs": 5})
    plan = PLAN.model_copy(update={"phases": (phase,)})
    for view, role in ((folded.parts[0], PART), (folded.whole, Role("last"))):
        assert len(run(make(view, role, plan, patience=1, monitor="accuracy"))) == 5


def test_where_nothing_is_better_than_the_start_the_best_is_the_start(folded: Packed):
    parts = records(folded, [[5.0, -1.0, -1.0]] * 3)
    assert choose(ImageClassification(), PLAN, make_training(keep="best"), folded, parts).epoch == 0


def test_the_share_of_the_trained_weights_is_chosen_on_all_parts_together(folded: Packed):
    plan = PLAN.model_copy(update={"wise_ft": True})
    parts = records(folded, [[1.0, 1.0]] * 3)
    for number, (part, _) in enumerate(parts):
        wanted = (0.2, 0.6, 0.6)[number]
        part.blended = [part.epochs[0] * (5 - 10 * abs(alpha - wanted)) for alpha in ALPHAS]
    chosen = choose(ImageClassification(), plan, make_training(), folded, parts)
    losses = [figures["loss"] for figures in chosen.tried]
    assert chosen.alpha == ALPHAS[int(np.argmin(losses))]
    assert 0.2 < chosen.alpha <= 0.6
    assert chosen.role.alpha == chosen.alpha
