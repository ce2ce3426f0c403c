"""A project as the stages leave it, in a second: real digits, tiny models, made-up predictions of a given skill."""

import csv
import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_digits

from tlpipe.backbones.letters import Letters
from tlpipe.bundle import Bundle, Case, Port, digest, figures, write_bundle
from tlpipe.data.packed import SPLITS, Packed
from tlpipe.evaluate.figures import mistakes_figure, save_png
from tlpipe.evaluate.predictions import Predictions
from tlpipe.evaluate.spec import Evaluate
from tlpipe.evaluate.tables import write_classes, write_tables
from tlpipe.strategies.counting import account, summary
from tlpipe.strategies.ending import Ending
from tlpipe.strategies.head_only import HeadOnly
from tlpipe.strategies.plan import Phase, Plan
from tlpipe.strategies.scratch import Scratch
from tlpipe.strategies.unfreeze import AllLayers, TopLayers
from tlpipe.tasks.union import ImageClassification
from tlpipe.train.model import About, Classifier, save_model
from tlpipe.train.trainer.trainable import sizes

LETTERS = Letters(width=4)
STRATEGIES = {
    "head_only": (HeadOnly(kind="head_only"), 1.2),
    "top_layers": (TopLayers(kind="top_layers", layers=2, lr=1e-3, gamma=0.5, stage_epochs=3, epochs=8), 1.55),
    "all_layers": (AllLayers(kind="all_layers", lr=1e-3, gamma=0.6, stages=3, stage_epochs=3, epochs=12), 1.6),
    "scratch": (Scratch(kind="scratch", lr=1e-3, epochs=30), 0.9),
}
PARAMS = """\
task: {kind: image_classification}
strategies: [head_only, top_layers, all_layers, scratch]
finetune:
  head_only: {kind: head_only}
  top_layers: {kind: top_layers, layers: 2, lr: 1e-3, gamma: 0.5, stage_epochs: 3, epochs: 8}
  all_layers: {kind: all_layers, lr: 1e-3, gamma: 0.6, stages: 3, stage_epochs: 3, epochs: 12}
  scratch: {kind: scratch, lr: 1e-3, epochs: 30}
runtime: {device: cpu, precision: fp32, threads: 1}
evaluate: {resamples: 200, batch_size: 64}
compare: {metric: accuracy, resamples: 200}
tracking: {enabled: false}
"""


def build(root: Path, classes: tuple[str, ...] | None = None, size: int = 360, pictures: bool = False) -> Path:
    """All that compare and report read, below `root`; class names are the digits, or `classes` (2 to 10 of them)."""
    names = classes or tuple(f"digit {index}" for index in range(10))
    (root / "params.yaml").write_text(PARAMS)
    packed = pack(root, names, size)
    for stage, seconds in (("embed", 1.5), ("head", 2.0)):
        timing = {"seconds": seconds, "device": "cpu", "precision": "fp32"}
        save_json(root / f"reports/training/{stage}/timing.json", timing)
    for seed, (name, (strategy, skill)) in enumerate(STRATEGIES.items()):
        encoder = LETTERS.encoder()
        plan = strategy.plan(encoder.groups)
        add_model(root, name, plan, names, len(packed.rows("train")))
        add_training(root, name, plan)
        add_evaluation(root, name, packed, skill, seed, pictures)
    return root


def pack(root: Path, names: tuple[str, ...], size: int) -> Packed:
    digits = load_digits()
    chosen = np.flatnonzero(digits.target < len(names))[:size]
    small = [Image.fromarray((255 - digits.images[i] * 15.9).astype(np.uint8)) for i in chosen]
    folder, count = root / "data/packed", len(chosen)
    folder.mkdir(parents=True)
    images = np.stack([np.asarray(image.resize((32, 32), Image.Resampling.BICUBIC).convert("RGB")) for image in small])
    labels = digits.target[chosen].astype(np.int64)
    np.save(folder / "images.npy", images)
    np.save(folder / "labels.npy", labels)
    edges = [0, count // 4, count // 2, count]
    ranges = {split: edges[i : i + 2] for i, split in enumerate(SPLITS)}
    preprocess = json.loads(LETTERS.preprocess().model_dump_json())
    about = {
        "classes": names,
        "task": "image_classification",
        "ranges": ranges,
        "preprocess": preprocess,
        "fingerprint": "f" * 64,
    }
    save_json(folder / "dataset.json", about)
    with (folder / "manifest.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["row", "id"], *([row, f"{labels[row]}/{row}.png"] for row in range(count))])
    add_findings(root, names, labels, ranges)
    return Packed.open(folder)


def add_findings(root: Path, names: tuple[str, ...], labels: np.ndarray, ranges: dict[str, list[int]]) -> None:
    counts = {
        split: {name: int((labels[low:high] == index).sum()) for index, name in enumerate(names)}
        for split, (low, high) in ranges.items()
    }
    rejected = [
        {"id": "3/cut.png", "label": names[0], "split": None, "reason": "truncated", "detail": "ends after 312 bytes"},
        {"id": "1/7.png", "label": names[1], "split": "test", "reason": "duplicate_of:1/2.png", "detail": "the same"},
    ]
    data = {
        "found": len(labels) + 2, "used": len(labels), "classes": names, "counts": counts, "imbalance": 1.6,
        "left_aside": {}, "rejected": rejected, "duplicates": {"exact": [{"ids": ["1/7.png", "1/2.png"]}], "near": []},
        "ignored": [], "images": {edge: {"min": 8, "median": 8, "max": 8} for edge in ("width", "height")},
        "fingerprint": "f" * 64, "sets": {split: letter * 64 for split, letter in zip(SPLITS, "tve", strict=True)},
    }  # fmt: skip
    save_json(root / "reports/data.json", data)
    save_json(root / "reports/baseline.json", {})


def add_model(root: Path, name: str, plan: Plan, labels: tuple[str, ...], samples: int) -> None:
    torch.manual_seed(0)
    encoder, task = LETTERS.encoder(), ImageClassification()
    model = Classifier(encoder, task.head(encoder.feature_dim, len(labels), 0.1))
    found = sizes(model, plan)
    facts = summary(plan, found)
    about = About(
        strategy=name, run_key=f"{name}-key", task=task, backbone=LETTERS, preprocess=LETTERS.preprocess(),
        labels=labels, dropout=0.1, temperature=1.5, validation={}, plan=plan,
        total_parameters=facts["parameters"], trainable_parameters=facts["trainable"],
        ending=Ending(epoch=0, epochs=8, monitor="accuracy", kept_start=name == "top_layers") if plan.phases else None,
    )  # fmt: skip
    save_model(root / "models/finetuned" / name, model, about)
    save_model(root / "models/seeds" / name / "1", model, about)
    save_json(root / "models/seeds" / name / "seeds.json", [1])
    save_json(root / "reports/training" / name / "plan.json", account(plan, found, 0.02, samples))


def add_training(root: Path, name: str, plan: Plan) -> None:
    folder, generator = root / "reports/training" / name, np.random.default_rng(len(name))
    save_json(folder / "timing.json", {"seconds": 10.0 * len(plan.phases), "device": "cpu", "precision": "fp32"})
    epoch, rows = 0, []
    path = [Phase(name=f"penalty {10.0**-step:g}", epochs=1, rates={}) for step in range(6)]
    for phase in plan.phases or path:
        for _ in range(phase.epochs):
            epoch += 1
            noise = generator.normal(0, 0.01, 3)
            loss, gap = 0.25 + 1.6 * np.exp(-epoch / 6) + noise[0], 0.05 + 0.004 * epoch
            accuracy = 0.97 - 0.5 * np.exp(-epoch / 5) + noise[1]
            rows.append([7 * epoch, phase.name, epoch, loss, loss + gap, accuracy, 1e-4, 1e-3, 0.4, 450])
    header = "step,phase,epoch,train_loss,validation_loss,validation_accuracy,lr_min,lr_max,seconds,samples_per_second"
    with (folder / "history.csv").open("w", newline="") as file:
        csv.writer(file).writerows([header.split(","), *rows])


def synthetic(packed: Packed, skill: float, seed: int) -> Predictions:
    """Predictions whose true class gets `skill` more in the logits than the noise of the others."""
    rows = np.concatenate([packed.rows("validation"), packed.rows("test")])
    splits = tuple("validation" if row in packed.rows("validation") else "test" for row in rows)
    labels = packed.labels[rows]
    logits = np.random.default_rng(seed).normal(0, 1, (len(rows), len(packed.classes)))
    logits[np.arange(len(rows)), labels] += 2 * skill
    shares = np.exp(1.5 * logits)
    probabilities = (shares / shares.sum(1, keepdims=True)).astype(np.float32).astype(np.float64)
    return Predictions(packed.classes, rows, tuple(packed.ids[row] for row in rows), splits, labels, probabilities)


def add_evaluation(root: Path, name: str, packed: Packed, skill: float, seed: int, pictures: bool) -> None:
    folder, predictions = root / "reports/evaluation" / name, synthetic(packed, skill, seed)
    folder.mkdir(parents=True)
    write_tables(folder, [predictions, synthetic(packed, 0.97 * skill, seed)], Evaluate(resamples=200))
    write_classes(folder, predictions.of("test"))
    test = predictions.of("test")
    for figure in ("confusion", "reliability", "mistakes"):
        Image.new("RGB", (2, 2)).save(folder / f"{figure}.png")
    if pictures:
        save_png(mistakes_figure(test, packed.samples, 24), folder / "mistakes.png")


def add_bundle(root: Path, strategy: str, labels: tuple[str, ...]) -> None:
    folder, evaluation = root / "models/bundle", root / "reports/evaluation" / strategy
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(b"x" * 1_234_567)
    metrics, intervals = (json.loads((evaluation / f"{each}.json").read_text()) for each in ("metrics", "intervals"))
    shared = {"samples": 32, "finite": True, "same": 1.0, "ties": 0.0, "agreement": 1.0}
    parity = (
        Case(name="raw", batch=1, probabilities=3.1e-7, logits=2e-6, tolerance=0.02, logits_tolerance=None, **shared),
        Case(
            name="packed", batch=8, probabilities=2.4e-7, logits=1e-6, tolerance=1e-4, logits_tolerance=1e-4, **shared
        ),
    )
    bundle = Bundle(
        task="image_classification",
        labels=labels,
        inputs=(Port(name="image", dtype="uint8", shape=("batch", "height", "width", 3), layout="NHWC"),),
        outputs=(Port(name="probabilities", dtype="float32", shape=("batch", len(labels)), layout="NC"),),
        preprocessing=LETTERS.preprocess(),
        temperature=1.5,
        strategy=strategy,
        metrics=figures(metrics, intervals),
        parity=parity,
        versions={"tlpipe": "0.1.0", "onnxruntime": "1.31.0"},
        sha256={"model.onnx": digest(folder / "model.onnx")},
    )
    write_bundle(folder, bundle)


def save_json(path: Path, data: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data))
