"""finetune: one strategy from the head stage's model, or from fresh weights; killed anywhere, it goes on."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tlpipe import config
from tlpipe.data.packed import Packed
from tlpipe.plan_table import render
from tlpipe.preprocess.ngrams import VOCABULARY, write_vocabulary
from tlpipe.progress import plain_console
from tlpipe.stages.crossfit import HEAD, CrossFit, Trained
from tlpipe.stages.race import Lap, settle
from tlpipe.stages.tfidf import train_tfidf
from tlpipe.stages.training import Run, Setting
from tlpipe.strategies import AnyStrategy
from tlpipe.strategies.base import Strategy
from tlpipe.strategies.counting import account
from tlpipe.strategies.tfidf import TfIdf
from tlpipe.tracking import Recorder, Tracking, code_tags, curve_values, dvc_tags, hardware_tags, source_tags
from tlpipe.train.hardware.device import Machine, Runtime
from tlpipe.train.heads.head import Head
from tlpipe.train.model import load_about, save_held_out, save_model
from tlpipe.train.spec import Training
from tlpipe.train.trainer.events import Epoch
from tlpipe.train.trainer.history import said, write_history, write_json
from tlpipe.train.trainer.resume import hash_code, hash_files

PACKED, MONITOR = Path("data/packed"), Path("data/monitor.json")
"""The second is what `training.monitor` is, as `check` wrote it: `auto` goes by another section."""
FINETUNED, SEEDS, REPORTS = Path("models/finetuned"), Path("models/seeds"), Path("reports/training")
SHOWN = ("task", "data", "backbone", "runtime", "head", "training")
"""Sections of params.yaml that a run shows in MLflow besides its own strategy."""


def main(name: str) -> None:
    """Write models/finetuned/<name>/, models/seeds/<name>/ and reports/training/<name>/."""
    strategy: Strategy = config.load(f"finetune.{name}", AnyStrategy)
    training: Training = config.load("training", Training).model_copy(update=json.loads(MONITOR.read_text()))
    runtime: Runtime = config.load("runtime", Runtime)
    packed, head = Packed.open(PACKED), load_about(HEAD)
    inputs = (packed.fingerprint, hash_files([HEAD]), hash_code("finetune"))
    machine = runtime.resolve(head.backbone.hidden_size)
    setting = Setting(name, packed, head, training, runtime, config.load("head", Head), machine, inputs)
    if isinstance(strategy, TfIdf):
        if machine.team.first:
            _tfidf(setting, strategy)
        return

    def contend(strategy: Strategy) -> list[Run]:
        fit = CrossFit(setting, strategy, training.seed)
        return [fit.part(index, training.seed) for index in range(len(packed.parts))]

    settled, laps = settle(name, strategy, contend)
    seeds = range(training.seed, training.seed + (training.seeds if setting.plan(settled).phases else 1))
    trained = [_train(setting, settled, seed) for seed in seeds]
    if machine.team.first:
        write_json(SEEDS / name / "seeds.json", list(seeds[1:]))
        _timing(name, trained, laps, machine)
        trained[0].final.keeper.drop_all()


def _train(setting: Setting, strategy: Strategy, seed: int) -> Trained:
    """One seed's trainings; the first one's model is the strategy's, the others tell the spread of the figures."""
    first, fit = seed == setting.training.seed, CrossFit(setting, strategy, seed)
    samples = setting.packed.learnt
    plan = account(fit.plan, fit.sizes(), setting.training.decay(samples), samples)
    journal = Recorder()
    if first:
        plain_console().print(render(plan, setting.name), setting.machine.describe())
        journal = _journal(setting, fit.key)
        journal.plan(plan)
    trained = fit.run(lambda epoch: journal.metrics(epoch.step, curve_values(epoch.row())))
    about, name = trained.about, setting.name
    folder = FINETUNED / name if first else SEEDS / name / str(seed)
    if setting.machine.team.first:
        save_model(folder, trained.weights, about)
        save_held_out(folder, trained.held_out)
    if first:
        if setting.machine.team.first:
            _report(REPORTS / name, trained.epochs, plan)
            journal.model(folder)
        if trained.stuck:
            journal.tags({"stuck": trained.stuck[-1].describe()})
        if about.ending is not None:
            journal.tags(about.ending.tags())
        journal.end()
    for line in about.ending.describe() if about.ending else ():
        print(f"{name}, seed {seed}: {line}")
    print(f"{name}, seed {seed}: validation {said(about.validation)}, temperature {about.temperature:g}")
    return trained


def _tfidf(setting: Setting, strategy: TfIdf) -> None:
    """All that `_train` and `_timing` write, of a model without a network."""
    trained, name = train_tfidf(setting, strategy), setting.name
    plan = account(trained.about.plan, trained.sizes, 0.0, setting.packed.learnt)
    plain_console().print(render(plan, name))
    journal = _journal(setting, trained.about.run_key)
    journal.plan(plan)
    for epoch in trained.epochs:
        journal.metrics(epoch.step, curve_values(epoch.row()))
    folder = FINETUNED / name
    save_model(folder, trained.fitted.model, trained.about)
    save_held_out(folder, trained.fitted.held_out)
    write_vocabulary(folder / VOCABULARY, trained.fitted.words, trained.fitted.characters)
    _report(REPORTS / name, trained.epochs, plan)
    journal.model(folder)
    journal.end()
    write_json(SEEDS / name / "seeds.json", [])
    timing = {"seconds": trained.seconds, "repeats": [], "device": "cpu", "precision": "fp64"}
    write_json(REPORTS / name / "timing.json", {**timing, "frozen": [], "stuck": []})
    print(f"{name}: validation {said(trained.about.validation)}, temperature {trained.about.temperature:g}")


def _journal(setting: Setting, key: str) -> Recorder:
    tracking: Tracking = config.load("tracking", Tracking)
    if not setting.machine.team.first:
        tracking = tracking.model_copy(update={"enabled": False})
    journal, machine = tracking.journal(key, setting.name), setting.machine
    raw = config.read()
    journal.params({**{section: raw[section] for section in SHOWN}, "strategy": raw["finetune"][setting.name]})
    versions = dvc_tags((PACKED, Path("models/source"), HEAD))
    hardware = hardware_tags(machine.describe(), machine.precision)
    journal.tags({**code_tags(), **source_tags(f"finetune@{setting.name}"), **versions, **hardware})
    path = str(raw["data"]["source"]["path"])
    journal.dataset(Path(path).name, setting.packed.fingerprint, path)
    return journal


def _report(folder: Path, epochs: list[Epoch], plan: dict[str, Any]) -> None:
    write_json(folder / "plan.json", plan)
    if epochs:
        write_history(folder / "history.csv", epochs)
    else:
        shutil.copyfile("reports/training/head/history.csv", folder / "history.csv")


def _timing(name: str, trained: list[Trained], laps: Sequence[Lap], machine: Machine) -> None:
    """What each training took; `seconds` is the first one's with the race before it, as if there were no other."""
    lost = sum(lap["seconds"] for lap in laps if not lap["chosen"])
    first, *repeats = trained
    timing = {"seconds": first.seconds + lost, "repeats": [seed.seconds for seed in repeats]}
    stuck = [proof.record() for seed in trained for proof in seed.stuck]
    frozen = {
        "frozen": first.final.trainer.frozen.describe(), "stuck": stuck, **({"race": laps} if laps else {})
    }  # fmt: skip
    timing = {**timing, "device": machine.describe()}
    write_json(REPORTS / name / "timing.json", {**timing, "precision": machine.precision, **frozen})
