"""Cost of cross-fitting: processor time of heads and fine-tunings with 5 folds and a refit, over that with one split.

    python -m benchmarks.fold_costs [--labels 40] [--epochs 6] [--rounds 3]

The digits project is made twice, once with `data.split.folds: 5` and once with a validation split of a fifth and no
refit, and its stages run in turns. Medians of processor seconds, with those that Python takes to start, go to
benchmarks/results/fold_costs.json.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.projects import digits
from benchmarks.report.provenance import stamp

RESULTS = Path(__file__).parent / "results/fold_costs.json"
FOLDS = 5
SPLITS: dict[str, dict[str, Any]] = {
    "folds": {"folds": FOLDS, "validation": None, "refit": "auto"},
    "one split": {"folds": None, "validation": 0.2, "refit": False},
}
STRATEGIES = ("head_only", "top_layers", "all_layers")
GOALS = {"head_only": 1.5, "top_layers": 3.0, "all_layers": float(FOLDS)}


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--labels", type=int, default=40, help="a class")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    seconds: dict[tuple[str, str], list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as scratch:
        projects = {name: project(Path(scratch) / name.replace(" ", "-"), name, given) for name in SPLITS}
        for _ in range(given.rounds):
            for name, folder in projects.items():
                seconds[name, "head_only"].append(sum(spent(folder, *stage) for stage in (("embed",), ("head",))))
                for strategy in STRATEGIES[1:]:
                    seconds[name, strategy].append(spent(folder, "finetune", strategy))
    rows = {strategy: row(seconds, strategy) for strategy in STRATEGIES}
    about = {"machine": f"{platform.machine()}, one thread", "labels": given.labels, "epochs": given.epochs}
    RESULTS.write_text(json.dumps({**about, "strategies": rows}, indent=1) + "\n", encoding="utf-8")
    stamp(RESULTS, "python -m benchmarks.fold_costs", "two shared x86-64 cores, one thread")
    for strategy, values in rows.items():
        print(f"{strategy}: {values['ratio']:.2f} times one split (goal {values['goal']:g})")


def row(seconds: dict[tuple[str, str], list[float]], strategy: str) -> dict[str, float]:
    """Median processor seconds of both, and the median of their ratios by round."""
    crossed, single = seconds["folds", strategy], seconds["one split", strategy]
    ratios = [more / less for more, less in zip(crossed, single, strict=True)]
    return {
        "folds": round(median(crossed), 2),
        "one split": round(median(single), 2),
        "ratio": round(median(ratios), 2),
        "goal": GOALS[strategy],
    }


def project(folder: Path, split: str, given: argparse.Namespace) -> Path:
    """The digits project, run up to its features."""
    values: dict[str, Any] = {
        "data.limit_per_class": given.labels, "strategies": list(STRATEGIES), "runtime.threads": 1,
        "runtime.precision": "fp32", "tracking.enabled": False, "backbone.epochs": 2, "backbone.samples": 4000,
        "training.retries": 0,
        **{f"data.split.{key}": value for key, value in SPLITS[split].items()},
        **{f"finetune.{name}.epochs": given.epochs for name in STRATEGIES[1:]},
        **{f"finetune.{name}.lr": "auto" for name in STRATEGIES[1:]},
    }  # fmt: skip
    digits(folder, values, scm=False)
    subprocess.run(["dvc", "repro", "-q", "advise", "head"], cwd=folder, check=True, env=environment())
    return folder


def environment() -> dict[str, str]:
    """One thread, and the programs of this interpreter."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1", "DVC_NO_ANALYTICS": "1"}


def spent(folder: Path, *stage: str) -> float:
    """Processor seconds of a stage that begins anew."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(["tlpipe", "stage", *stage], cwd=folder, check=True, env=environment(), stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    main()
