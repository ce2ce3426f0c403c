"""head: a converged logistic head on the frozen features; feature extraction, and where every fine-tuning starts."""

import time
from pathlib import Path

from torch import Tensor

from tlpipe import config
from tlpipe.data.packed import Packed
from tlpipe.strategies.head_only import HeadOnly
from tlpipe.strategies.plan import HEAD
from tlpipe.tasks.base import Task
from tlpipe.tasks.union import AnyTask
from tlpipe.train.cache.embed import Features
from tlpipe.train.heads.head import Fitted, Head
from tlpipe.train.heads.linear import cross_fit, install, path_as_epochs
from tlpipe.train.model import About, Classifier, save_held_out, save_model
from tlpipe.train.pretraining.source import Source, load_source, source_encoder
from tlpipe.train.trainer.crossfit import labels_of
from tlpipe.train.trainer.history import said, write_history, write_json
from tlpipe.train.trainer.initial_models import save_parts
from tlpipe.train.trainer.resume import hash_code, hash_files, run_key
from tlpipe.train.trainer.temperature_scaling import fit_temperature
from tlpipe.train.trainer.trainable import count_parameters

SOURCE, PACKED, FEATURES, OUT = Path("models/source"), Path("data/packed"), Path("data/features"), Path("models/head")
REPORT = Path("reports/training/head")


def main() -> None:
    """Write models/head/ and reports/training/head/."""
    head: Head = config.load("head", Head)
    task: Task = config.load("task", AnyTask)
    packed, features, source = Packed.open(PACKED), Features.open(FEATURES), load_source(SOURCE)
    begun = time.perf_counter()
    cross_fitted = cross_fit(head, packed, features, features.groups[-1:])
    seconds, fitted = time.perf_counter() - begun, cross_fitted.fitted
    model = _model(task, source, fitted, len(packed.classes))
    about = _about(head, task, source, packed, fitted, model, (cross_fitted.logits, labels_of(packed)))
    save_model(OUT, model, about)
    save_held_out(OUT, cross_fitted.logits)
    save_parts(OUT, cross_fitted.parts)
    write_history(REPORT / "history.csv", path_as_epochs(fitted.path, packed.learnt, seconds))
    write_json(REPORT / "timing.json", {"seconds": seconds, "device": "cpu", "precision": "fp64"})
    print(f"head: penalty {fitted.penalty:g}, validation {said(about.validation)}")


def _model(task: Task, source: Source, fitted: Fitted, classes: int) -> Classifier:
    model = Classifier(source_encoder(SOURCE, source), task.head(source.feature_dim, classes, dropout=0.0))
    install(model.head, fitted)
    return model


def _about(
    head: Head,
    task: Task,
    source: Source,
    packed: Packed,
    fitted: Fitted,
    model: Classifier,
    held: tuple[Tensor, Tensor],
) -> About:
    counts, (logits, labels), view = count_parameters(model), held, packed.pooled
    temperature = fit_temperature(logits, labels, task.likelihood)
    best = next(point for point in fitted.path if point.penalty == fitted.penalty)
    reached = {"loss": best.validation_loss, "accuracy": best.validation_accuracy}
    return About.model_validate(
        {
            "strategy": "head",
            "run_key": run_key("head", head.model_dump(), packed.fingerprint, hash_files([SOURCE]), hash_code("head")),
            "task": task,
            "backbone": source.backbone,
            "preprocess": packed.preprocess,
            "labels": packed.classes,
            "dropout": 0.0,
            "temperature": temperature,
            "fitted": task.fitted(logits / temperature, labels, view),
            "validation": {**task.scores(*held, view), **reached},
            "plan": HeadOnly(kind="head_only").plan(source.groups),
            "total_parameters": sum(counts.values()),
            "trainable_parameters": counts[HEAD],
            "folds": len(packed.folds),
            "refit": packed.refit,
        }
    )
