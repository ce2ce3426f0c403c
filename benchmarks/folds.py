"""A project's strategies by cross-validation over all its images: every image is a test image once.

    python -m benchmarks.folds PROJECT [--folds 5] [--strategies head_only,all_layers] [--set training.cache.views=0]

PROJECT holds params.yaml, and data/packed and models/source from `dvc repro`. Its own split is set aside: images are
dealt into stratified folds; of the others of each fold a fifth validates. The stages themselves embed, fit the head and
train, in a temporary copy. A test split of 150 images cannot tell strategies apart that differ by a point; this can
tell more.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from ruamel.yaml import YAML
from sklearn.model_selection import StratifiedKFold, train_test_split

from tlpipe import config
from tlpipe.data.packed import SPLITS, Packed
from tlpipe.evaluate.predict import predict
from tlpipe.stages import embed, finetune, head
from tlpipe.train.hardware.device import Runtime
from tlpipe.train.model import load_model

VALIDATION = 0.2
RESAMPLES = 2000
Right = dict[str, list[NDArray[np.bool_]]]


def deal(packed: Packed, folds: int, seed: int) -> Iterator[tuple[NDArray[np.int64], ...]]:
    """(train, validation, test) rows of each fold."""
    rows = np.arange(len(packed.labels))
    for others, test in StratifiedKFold(folds, shuffle=True, random_state=seed).split(rows, packed.labels):
        train, validation = train_test_split(
            others, test_size=VALIDATION, stratify=packed.labels[others], random_state=seed
        )
        yield np.sort(train), np.sort(validation), test


def write_fold(packed: Packed, rows: tuple[NDArray[np.int64], ...], folder: Path) -> None:
    """The packed arrays of one fold, as `prepare` would have written them."""
    folder.mkdir(parents=True)
    order = np.concatenate(rows)
    np.save(folder / "images.npy", packed.samples[order])
    np.save(folder / "labels.npy", packed.labels[order])
    about = json.loads((packed.folder / "dataset.json").read_text())
    bounds = np.cumsum([0, *map(len, rows)]).tolist()
    about["ranges"] = dict(zip(SPLITS, pairwise(bounds), strict=True))
    about["fingerprint"] += str(order.tolist())
    (folder / "dataset.json").write_text(json.dumps(about))


@contextmanager
def inside(folder: Path) -> Iterator[None]:
    """The stages work in the current folder."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def change(path: Path, changes: list[str]) -> None:
    """Apply `dotted.key=value` to a params file."""
    yaml = YAML()
    values: Any = yaml.load(path.read_text())
    for each in changes:
        dotted, _, value = each.partition("=")
        *parents, last = dotted.split(".")
        node = values
        for parent in parents:
            node = node[parent]
        node[last] = YAML(typ="safe", pure=True).load(value)
    values["tracking"]["enabled"] = False
    with path.open("w") as file:
        yaml.dump(values, file)


def run_fold(strategies: list[str], right: Right, seconds: dict[str, float]) -> None:
    """Train in the current folder; adds whether each test image is right, and the seconds of each training."""
    embed.main()
    head.main()
    packed, runtime = Packed.open(Path("data/packed")), config.load("runtime", Runtime)
    for name in strategies:
        begun = time.perf_counter()
        finetune.main(name)
        seconds[name] = seconds.get(name, 0.0) + time.perf_counter() - begun
        model, about = load_model(Path("models/finetuned") / name)
        probabilities = np.concatenate(list(predict(model, about, packed, "test", 64, runtime.resolve())))
        right.setdefault(name, []).append(probabilities.argmax(1) == packed.labels[packed.rows("test")])


def interval(values: NDArray[np.float64]) -> tuple[float, float, float]:
    """Mean, and the bounds of its bootstrap 95 % interval."""
    draws = np.random.default_rng(0).integers(0, len(values), (RESAMPLES, len(values)))
    low, high = np.percentile(values[draws].mean(1), [2.5, 97.5])
    return float(values.mean()), float(low), float(high)


def main() -> None:
    """Print one line a strategy: accuracy over all images, and its difference to the first one, with intervals."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("project", type=Path)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--strategies", default="head_only,top_layers,all_layers")
    parser.add_argument("--set", nargs="*", default=[], dest="changes")
    given = parser.parse_args()
    packed, strategies = Packed.open(given.project / "data/packed"), given.strategies.split(",")
    right: Right = {}
    seconds: dict[str, float] = {}
    for number, rows in enumerate(deal(packed, given.folds, given.seed)):
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            write_fold(packed, rows, folder / "data/packed")
            shutil.copytree(given.project / "models/source", folder / "models/source")
            shutil.copyfile(given.project / "params.yaml", folder / "params.yaml")
            change(folder / "params.yaml", given.changes)
            with inside(folder):
                run_fold(strategies, right, seconds)
        print(f"fold {number + 1}", {name: f"{each[-1].mean():.4f}" for name, each in right.items()}, file=sys.stderr)
    first = np.concatenate(right[strategies[0]]).astype(float)
    for name in strategies:
        each = np.concatenate(right[name]).astype(float)
        accuracy, gain = ("{:.4f} [{:.4f}, {:.4f}]".format(*interval(values)) for values in (each, each - first))
        print(f"{name:12s} accuracy {accuracy}, difference {gain}, {seconds[name] / given.folds:.0f} s a fold")


if __name__ == "__main__":
    main()
