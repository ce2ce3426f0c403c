"""The advisor's evidence on every cell of the grid, and the scores that the baselines need.

    python -m benchmarks.advisor.evidence OUT [--seeds 3] [--minutes 60]

One line a cell in OUT/evidence.jsonl, restartable like the grid; the advisor sees the labelled samples (training and
validation), never the test split.
"""

import argparse
import json
import time
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.advisor.cell import read
from benchmarks.advisor.targets import SIZES, TARGETS, Bench, Target
from tlpipe.advise.evidence import gather, subject
from tlpipe.advise.passes import look
from tlpipe.advise.probe import Floats, Labels
from tlpipe.train.hardware.device import Machine, Runtime
from tlpipe.train.trainer.randomness import derive

DIRECTIONS = 2
NEIGHBOURS = 5


def nearest(features: Floats, labels: Labels) -> float:
    """Leave-one-out accuracy of the NEIGHBOURS nearest in cosine similarity (PARC's and Sorkhei's baseline)."""
    unit = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    likeness = unit @ unit.T
    np.fill_diagonal(likeness, -np.inf)
    near = np.argsort(-likeness, axis=1, kind="stable")[:, :NEIGHBOURS]
    votes = np.eye(labels.max() + 1)[labels[near]].sum(1)
    return float((votes.argmax(1) == labels).mean())


def logme(features: Floats, labels: Labels) -> float:
    """Log evidence a sample of a Bayesian linear model (You et al. 2021, arXiv 2102.11005), the fixed point version."""
    count, width = features.shape
    left, singular, _ = np.linalg.svd(features, full_matrices=False)
    squares, evidences = singular**2, []
    for label in np.unique(labels):
        target = (labels == label).astype(float)
        projected = (left.T @ target) ** 2
        outside = max(float(target @ target - projected.sum()), 0.0)
        alpha, beta = 1.0, 1.0
        for _ in range(30):
            ratio = alpha / beta
            gamma = float((squares / (squares + ratio)).sum())
            norm = float((squares * projected / (squares + ratio) ** 2).sum())
            residual = float((projected / (1 + squares / ratio) ** 2).sum()) + outside
            alpha, beta = gamma / max(norm, 1e-12), (count - gamma) / max(residual, 1e-12)
        logs = np.log(alpha + beta * squares).sum() + max(width - len(squares), 0) * np.log(alpha)
        evidence = width * np.log(alpha) + count * np.log(beta) - count * np.log(2 * np.pi)
        evidences.append((evidence - beta * residual - alpha * norm - logs) / 2 / count)
    return float(np.mean(evidences))


def cell(bench: Bench, target: Target, size: int, seed: int, machine: Machine) -> dict[str, Any]:
    """One line."""
    source, _ = bench.source(target.backbone)
    packed = bench.arrays(target).sample(size, seed, source.preprocess, target.name)
    rows = np.arange(packed.ranges["validation"][1])
    encoder = bench.encoder(target.backbone)
    torch.manual_seed(derive(seed, "control"))
    control = bench.encoder(target.backbone, pretrained=False)
    begun = time.process_time()
    features, seconds = look(encoder, packed, rows, machine)
    seen = subject(packed, len(rows), encoder.feature_dim * len(encoder.groups), seed)
    own = {group: each[seen.lines] for group, each in features.items()}
    found = gather(own, encoder, control, packed, seen, machine, seed, DIRECTIONS)
    spent = time.process_time() - begun
    top, labels = list(features.values())[-1].astype(float), packed.labels[rows]
    return {
        "target": target.name, "size": size, "seed": seed, "backbone": target.backbone, "fitted": target.fitted,
        "evidence": found.summary(), "knn": nearest(top, labels), "logme": logme(top, labels),
        "seconds": round(spent, 3), "forward": seconds / len(rows),
    }  # fmt: skip


def main() -> None:
    """Gather until all that was asked for is there, or time is up."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--minutes", type=float, default=1e6)
    parser.add_argument("--seeds", type=int, default=3)
    asked = parser.parse_args()
    machine = Runtime(device="cpu", precision="fp32", threads=1).resolve()
    bench, file = Bench(asked.out, machine), asked.out / "evidence.jsonl"
    there = {(record["target"], record["size"], record["seed"]) for record in read(file)}
    deadline = time.time() + 60 * asked.minutes
    for seed, size, target in product(range(asked.seeds), SIZES, TARGETS):
        if (target.name, size, seed) in there or time.time() > deadline:
            continue
        record = cell(bench, target, size, seed, machine)
        with file.open("a") as out:
            out.write(json.dumps(record) + "\n")
        said = record["evidence"]
        print(target.name, size, seed, said["last"], said["all_depths"], said["random_weights"], record["seconds"])


if __name__ == "__main__":
    main()
