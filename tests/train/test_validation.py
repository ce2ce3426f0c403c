"""What epochs are compared by is what the evaluation ranks strategies by, for every task and every metric."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from tests import asked, tagged
from tests.train.conftest import make_packed
from tlpipe.config import ConfigError
from tlpipe.data.packed import Packed
from tlpipe.evaluate.judged import predictions_of
from tlpipe.metric_facts import facts
from tlpipe.metrics import measure
from tlpipe.tasks.base import Task
from tlpipe.tasks.image_classification.spec import ImageClassification
from tlpipe.train.trainer.temperature_scaling import fit_temperature
from tlpipe.train.trainer.validation import CALIBRATED, Validation, lower_is_better, monitored

Make = Callable[[Path], Packed]
WORLDS: dict[str, tuple[Task, Make]] = {
    "images": (ImageClassification(), make_packed),
    "words": (tagged.TASK, lambda folder: tagged.pack_tagged(folder, train=4, validation=5, test=2)),
    "questions": (asked.TASK, lambda folder: asked.pack_asked(folder, 5)),
}


def outputs(task: Task, packed: Packed, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Random logits (M, C) of the validation split's marks, and their labels."""
    low, high = packed.targets.range(*packed.ranges["validation"])
    labels = torch.from_numpy(packed.targets.marks[low:high])
    width = 2 if task.form == "questions" else len(packed.classes)
    generator = torch.Generator().manual_seed(seed)
    return 3 * torch.randn(len(labels), width, generator=generator, dtype=torch.float64), labels


@pytest.mark.parametrize("world", WORLDS)
def test_every_metric_is_the_evaluation_s_to_the_digit(world: str, tmp_path: Path) -> None:
    task, make = WORLDS[world]
    packed = make(tmp_path / "packed")
    logits, labels = outputs(task, packed)
    temperature = fit_temperature(logits, labels, task.likelihood)
    said = task.said(logits / temperature).numpy()
    if world == "images":  # there is no manifest beside these, and no more to its evaluation than this
        evaluated = measure(labels.numpy(), said)
    else:
        fitted = task.fitted(logits / temperature, labels, packed)
        evaluated = predictions_of(packed.task).assemble(packed, {"validation": said}, fitted).measure()
    assert set(evaluated) <= set(task.metrics)
    for name, value in evaluated.items():
        assert Validation(task, name, packed, ties=False)(logits, labels)[name] == pytest.approx(value, abs=1e-4), name


@pytest.mark.parametrize("world", WORLDS)
def test_the_headline_is_what_auto_means_and_the_task_s_own_figures_are_monitors(world: str, tmp_path: Path) -> None:
    task, make = WORLDS[world]
    packed = make(tmp_path / "packed")
    found = Validation(task, "auto", packed, ties=True)(*outputs(task, packed))
    assert monitored(task, "auto") == task.metrics[0]
    assert task.metrics[0] in found
    assert set(task.scores(*outputs(task, packed), packed)) <= set(task.monitors)
    assert np.isfinite(list(found.values())).all()


@pytest.mark.parametrize("world", WORLDS)
def test_a_loss_is_compared_whatever_its_sharpness(world: str, tmp_path: Path) -> None:
    task, make = WORLDS[world]
    packed = make(tmp_path / "packed")
    logits, labels = outputs(task, packed)
    validate = Validation(task, "loss", packed, ties=False)
    found = validate(logits, labels)
    assert monitored(task, "loss") == CALIBRATED
    assert found[CALIBRATED] < found["loss"]  # random outputs three times too sure
    temperature = fit_temperature(logits, labels, task.likelihood)
    assert found[CALIBRATED] == pytest.approx(task.scores(logits / temperature, labels, packed)["loss"], abs=1e-5)


def test_smoothing_and_a_tuned_start_do_not_decide(tmp_path: Path) -> None:
    """The better order of classes wins, though its loss as it comes is the higher one."""
    packed = make_packed(tmp_path / "packed")
    _, labels = outputs(ImageClassification(), packed)
    right = functional.one_hot(labels, 3).double()
    tuned = 2.0 * right.clone()
    tuned[0] = tuned[0].roll(1)  # one of twelve is wrong, and it is as sure as is best for that
    smoothed = 1.2 * right  # all are right, and too unsure
    validate = Validation(ImageClassification(), "loss", packed, ties=False)
    start, trained = validate(tuned, labels), validate(smoothed, labels)
    assert trained["loss"] > start["loss"]
    assert trained[CALIBRATED] < start[CALIBRATED]


def test_directions_are_those_of_the_metrics() -> None:
    lower = {name for name in (*facts(), "loss", CALIBRATED, "place_accuracy") if lower_is_better(name)}
    assert lower == {"loss", CALIBRATED, "log_loss", "brier", "ece"}


def test_a_metric_that_does_not_apply_is_refused_with_what_does(tmp_path: Path) -> None:
    packed = make_packed(tmp_path / "packed")
    task = ImageClassification()
    logits, labels = outputs(task, packed)
    with pytest.raises(ConfigError, match=r"training.monitor: auroc does not apply .* choose one of accuracy"):
        Validation(task, "auroc", packed, ties=False)(logits, torch.zeros_like(labels))
    with pytest.raises(ConfigError, match="not finite: lower `lr`"):
        Validation(task, "brier", packed, ties=False)(logits * torch.inf, labels)
