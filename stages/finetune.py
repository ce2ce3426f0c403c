"""finetune: one strategy from the head stage's model, or from fresh weights; killed anywhere, it goes on."""

import argparse
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

import torch
from rich.console import Console

from stages.race import Lap, settle
from stages.shell import follow, resume, run
from tlpipe import config
from tlpipe.data.packed import Packed
from tlpipe.plan_table import render, summary
from tlpipe.strategies import AnyStrategy
from tlpipe.strategies.base import Strategy
from tlpipe.strategies.plan import Plan, table
from tlpipe.tasks.base import Task
from tlpipe.tracking import Recorder, Tracking, code_tags, curve_values, dvc_tags, hardware_tags, source_tags
from tlpipe.train.batches import Batches
from tlpipe.train.calibrate import fit_temperature
from tlpipe.train.checkpoint import Keeper, hash_code, hash_files, run_key
from tlpipe.train.device import Machine, Runtime
from tlpipe.train.events import Epoch
from tlpipe.train.fit import Trainer
from tlpipe.train.history import write_history, write_json
from tlpipe.train.model import About, Classifier, load_about, load_model, save_model
from tlpipe.train.optimizer import count_parameters
from tlpipe.train.randomness import derive
from tlpipe.train.spec import Training

HEAD, PACKED = Path("models/head"), Path("data/packed")
SHOWN = ("task", "data", "backbone", "runtime", "head", "training")
"""Sections of params.yaml that a run shows in MLflow besides its own strategy."""


def main(name: str) -> None:
    """Write models/finetuned/<name>/ and reports/training/<name>/."""
    strategy: Strategy = config.load(f"finetune.{name}", AnyStrategy)
    training: Training = config.load("training", Training)
    runtime: Runtime = config.load("runtime", Runtime)
    machine, packed, head = runtime.resolve(), Packed.open(PACKED), load_about(HEAD)
    inputs = packed.fingerprint, hash_files([HEAD]), hash_code()

    def prepare(strategy: Strategy) -> tuple[Trainer, Keeper]:
        specs = [each.model_dump() for each in (strategy, training, runtime, head.task)]
        plan = strategy.plan(head.plan.groups)
        batches = Batches(packed, machine.device)
        trainer = Trainer(_start(plan, head, training), plan, head.task, training, batches, machine)
        return trainer, Keeper(f"finetune-{name}", run_key("finetune", name, *specs, *inputs))

    settled, laps = settle(name, strategy, prepare)
    trainer, keeper = prepare(settled)
    plan, key, counts = trainer.plan, keeper.key, count_parameters(trainer.model)
    Console().print(render(plan, counts, name), machine.describe())
    journal = _journal(name, key, packed, machine)
    journal.plan(table(plan, counts))
    print(*trainer.frozen.describe(), sep="\n")
    epochs = _train(trainer, keeper, name, journal)
    about = _about(head, name, key, trainer, counts)
    if not machine.team.first:
        return
    save_model(Path("models/finetuned") / name, trainer.model, about)
    _report(Path("reports/training") / name, epochs, trainer, counts, laps)
    journal.model(Path("models/finetuned") / name)
    journal.end()
    keeper.drop_all() if laps else keeper.drop()
    found = about.validation
    scores = f"accuracy {found['accuracy']:.4f}, loss {found['loss']:.4f}"
    print(f"{name}: validation {scores}, temperature {about.temperature:g}")


def _start(plan: Plan, head: About, training: Training) -> Classifier:
    """The head stage's model, or the same network with fresh weights; with the recipe's dropout before the head."""
    task: Task = head.task
    if plan.start == "head":
        model, _ = load_model(HEAD)
        encoder, trained = model.encoder, model.head.state_dict()
    else:
        torch.manual_seed(derive(training.seed, "initialise"))
        encoder, trained = head.backbone.encoder(), None
    layers = task.head(encoder.feature_dim, len(head.labels), training.dropout)
    if trained is not None:
        layers.load_state_dict(trained)
    return Classifier(encoder, layers)


def _journal(name: str, key: str, packed: Packed, machine: Machine) -> Recorder:
    tracking: Tracking = config.load("tracking", Tracking)
    if not machine.team.first:
        tracking = tracking.model_copy(update={"enabled": False})
    journal = tracking.journal(key, name)
    raw = config.read()
    journal.params({**{section: raw[section] for section in SHOWN}, "strategy": raw["finetune"][name]})
    versions = dvc_tags((PACKED, Path("models/source"), HEAD))
    hardware = hardware_tags(machine.describe(), machine.precision)
    journal.tags({**code_tags(), **source_tags(f"finetune@{name}"), **versions, **hardware})
    place = str(raw["data"]["source"]["path"])
    journal.dataset(Path(place).name, packed.fingerprint, place)
    return journal


def _train(trainer: Trainer, keeper: Keeper, name: str, journal: Recorder) -> list[Epoch]:
    epochs = resume(trainer, keeper)
    for epoch in follow(trainer, keeper, name, epochs):
        journal.metrics(epoch.step, curve_values(asdict(epoch)))
        print(
            f"{name} {epoch.phase} epoch {epoch.epoch}: train loss {epoch.train_loss:.4f}, "
            f"validation loss {epoch.validation_loss:.4f}, accuracy {epoch.validation_accuracy:.4f}"
        )
    return epochs


def _about(head: About, name: str, key: str, trainer: Trainer, counts: dict[str, int]) -> About:
    logits, labels = trainer.scores()
    facts = summary(trainer.plan, counts)
    changed = {
        "strategy": name,
        "run_key": key,
        "dropout": trainer.training.dropout,
        "temperature": fit_temperature(logits, labels),
        "validation": trainer.validate(),
        "plan": trainer.plan,
        "total_parameters": facts["parameters"],
        "trainable_parameters": facts["trainable"],
    }
    return head.model_copy(update=changed)


def _report(folder: Path, epochs: list[Epoch], trainer: Trainer, counts: dict[str, int], laps: Sequence[Lap]) -> None:
    plan, machine = trainer.plan, trainer.machine
    write_json(folder / "plan.json", table(plan, counts))
    lost = sum(lap["seconds"] for lap in laps if not lap["chosen"])
    timing = {"seconds": sum(epoch.seconds for epoch in epochs) + lost, "device": machine.describe()}
    frozen = {"frozen": trainer.frozen.describe(), **({"race": laps} if laps else {})}
    write_json(folder / "timing.json", {**timing, "precision": machine.precision, **frozen})
    if plan.phases:
        write_history(folder / "history.csv", epochs)
    else:
        shutil.copyfile("reports/training/head/history.csv", folder / "history.csv")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("strategy")
    asked = parser.parse_args().strategy
    run(partial(main, asked), together=True, trains=f"finetune-{asked}")
