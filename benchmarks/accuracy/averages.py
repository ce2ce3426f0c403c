"""Averages of linear heads over penalties and tilts, beside the one that the pooled loss chooses.

    python -m benchmarks.accuracy.averages OUT [--labels 8] [--draws 6]

A mean of linear heads is one linear head, so averaging would cost nothing at inference. Fitting sets, 96 pixels, test
accuracy in percent; a line a cell, then the means, into benchmarks/results/averages.json.
"""

import argparse
import json
import platform
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from benchmarks.accuracy.explore import cell_of
from benchmarks.accuracy.loops import HEAD, Cell
from benchmarks.accuracy.sets import backbone
from benchmarks.report.provenance import stamp
from tlpipe.train.hardware.device import Machine, Runtime
from tlpipe.train.heads.all_depths import AllDepths
from tlpipe.train.heads.head import TILTS, Solution
from tlpipe.train.heads.linear import Logistic
from tlpipe.train.inputs.views import views_of

RESULTS = Path("benchmarks/results/averages.json")
SETS, SIZE = ("chest_xray", "elpv", "cifar10"), 96


class Tried(NamedTuple):
    """A penalty and a tilt."""

    losses: Tensor
    """(N,) cross-entropy of each labelled sample by the head of the other folds."""
    head: Solution
    """Fitted on all labelled samples."""

    @property
    def loss(self) -> float:
        """Pooled cross-entropy."""
        return float(self.losses.mean())


def main() -> None:
    """Measure all cells."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--labels", type=int, default=8)
    parser.add_argument("--draws", type=int, default=6)
    options = parser.parse_args()
    machine = Runtime(device="cpu", precision="fp32", threads=1).resolve()
    torch.set_num_threads(1)
    cells = []
    for name in SETS:
        inputs: Tensor | None = None
        for draw in range(options.draws):
            cell = cell_of(name, options.labels, draw, SIZE, options.out, machine)
            inputs = features_of_test(cell, machine) if inputs is None else inputs
            cells.append({"set": name, "labels": options.labels, "draw": draw, **measure(cell, inputs)})
            print(json.dumps(cells[-1]), flush=True)
    RESULTS.write_text(json.dumps({"gains": gains(cells), "cells": cells}, indent=1) + "\n")
    stamp(RESULTS, "python -m benchmarks.accuracy.averages OUT", f"{platform.machine()}, one thread")


def features_of_test(cell: Cell, machine: Machine) -> Tensor:
    """(N, D) features of all depths of the test images, in float64."""
    encoder = AllDepths(backbone(SIZE).pretrained()[0], cell.images.preprocess.example()).eval()
    views, rows = views_of(cell.packed.preprocess, machine.device), cell.packed.rows("test")
    with torch.inference_mode():
        parts = [
            encoder(views.evaluation(torch.from_numpy(cell.packed.samples[rows[low : low + 64]])))
            for low in range(0, len(rows), 64)
        ]
    return torch.cat(parts).double()


def measure(cell: Cell, inputs: Tensor) -> dict[str, float]:
    """Test accuracy of the chosen head and of each average, for the head on top and the one on all depths."""
    encoder = AllDepths(backbone(SIZE).encoder(), cell.images.preprocess.example())
    top = encoder.widths[-1]
    figures = {}
    for name, blocks, values in (("head_only", None, inputs[:, -top:]), ("all_depth_head", encoder.widths, inputs)):
        tried = path_of(cell, blocks)
        for way, weights in averages(tried).items():
            logits = values @ _mean(weights, [each.head.weight for each in tried]).T
            logits += _mean(weights, [each.head.bias for each in tried])
            figures[f"{name}.{way}"] = round(100 * float((logits.argmax(1) == cell.test).double().mean()), 2)
    return figures


def path_of(cell: Cell, blocks: Sequence[int] | None) -> list[Tried]:
    """All penalties and tilts, by rising pooled loss."""
    groups, packed = (cell.groups if blocks else cell.groups[-1:]), cell.packed
    labels = torch.from_numpy(packed.labels[: packed.labelled])
    parts = [Logistic(HEAD, part, cell.features, groups) for part in packed.parts]
    tried = []
    for tilt in TILTS if blocks else (0.0,):
        paths = [list(part.path(blocks, tilt)) for part in parts]
        for at, head in enumerate(Logistic(HEAD, packed.whole, cell.features, groups).path(blocks, tilt)):
            logits = torch.cat([part.held(path[at]).logits for part, path in zip(parts, paths, strict=True)])
            tried.append(Tried(functional.cross_entropy(logits, labels, reduction="none"), head))
    return sorted(tried, key=lambda each: each.loss)


def averages(tried: Sequence[Tried]) -> dict[str, NDArray[np.float64]]:
    """Shares (K,) of the heads: the best alone, by likelihood, and alike within one paired standard error."""
    behind = np.array([each.loss - tried[0].loss for each in tried])
    count = len(tried[0].losses)
    errors = np.array([float((each.losses - tried[0].losses).std()) for each in tried]) / count**0.5
    shares = {
        "chosen": (np.arange(len(tried)) == 0).astype(float),
        "by likelihood": np.exp(-count * behind),
        "within one standard error": (behind <= errors).astype(float),
    }
    return {way: share / share.sum() for way, share in shares.items()}


def _mean(shares: NDArray[np.float64], values: Sequence[Tensor]) -> Tensor:
    return (torch.from_numpy(shares).view(-1, *[1] * values[0].dim()) * torch.stack(list(values)).double()).sum(0)


def gains(cells: Sequence[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Points over the chosen head: mean and standard error over the cells."""
    summary = {}
    for name in (name for name in cells[0] if "." in name and not name.endswith(".chosen")):
        points = [cell[name] - cell[f"{name.split('.')[0]}.chosen"] for cell in cells]
        error = statistics.stdev(points) / len(points) ** 0.5
        summary[name] = {"mean": round(statistics.mean(points), 2), "standard error": round(error, 2)}
    return summary


if __name__ == "__main__":
    main()
