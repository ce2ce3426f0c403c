"""Whether "what if I label more?" is honest: extrapolated learning curves against probes that had the labels.

    python -m benchmarks.advisor.labels OUT [--seeds 3]

From 8 and from 32 labels a class the curve is extrapolated two and four times; the truth is a probe fitted on that many
labels and judged on the test split.
"""

import argparse
from collections import defaultdict
from itertools import product
from pathlib import Path

import numpy as np

from benchmarks.advisor.cell import embedded
from benchmarks.advisor.targets import TARGETS, Bench, Target
from tlpipe.advise.curve import AHEAD, learning_curve
from tlpipe.advise.marks import of_samples
from tlpipe.advise.probe import probe, rank_in_class
from tlpipe.data.packed import Packed
from tlpipe.train.hardware.device import Runtime

STARTS = (8, 32)


def deviations(bench: Bench, target: Target, start: int, seed: int) -> list[tuple[bool, float, float]]:
    """(truth inside the band, prediction minus truth, width of the band) for each multiple."""
    preprocess = bench.source(target.backbone)[0].preprocess
    encoder = bench.encoder(target.backbone).eval()

    def features(packed: Packed) -> list[np.ndarray]:
        return [each.numpy() for each in embedded(encoder, packed, bench.machine).values()]

    large = bench.arrays(target).sample(start * max(AHEAD), seed, preprocess, target.name)
    every, labels, classes = features(large), large.labels, len(large.classes)
    known, test = np.arange(large.ranges["validation"][1]), large.rows("test")
    order = known[np.argsort(rank_in_class(labels[known], seed), kind="stable")]
    own, found = order[: start * classes], []
    curve = learning_curve([each[own] for each in every], of_samples(labels[own], classes), seed)
    for point in (each for each in curve if not each.measured):
        if point.samples > len(order):
            continue
        rows = order[: point.samples]
        scores = probe([each[rows] for each in every], labels[rows], [each[test] for each in every], classes)
        truth = float((scores.argmax(1) == labels[test]).mean())
        found.append((point.low <= truth <= point.high, point.accuracy - truth, point.high - point.low))
    return found


def main() -> None:
    """A line for the fitting half and one for the unseen one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    asked = parser.parse_args()
    bench = Bench(asked.out, Runtime(device="cpu", precision="fp32", threads=1).resolve())
    found: dict[bool, list[tuple[bool, float, float]]] = defaultdict(list)
    for target, start, seed in product(TARGETS, STARTS, range(asked.seeds)):
        found[target.fitted] += deviations(bench, target, start, seed)
    for fitted, rows in found.items():
        inside, error, width = (np.array(column, float) for column in zip(*rows, strict=True))
        half = "fitting half" if fitted else "unseen"
        print(f"{half}: {len(rows)} extrapolations, {inside.mean():.0%} in the 90 % band, "
              f"bias {100 * error.mean():+.1f} points, mean error {100 * np.abs(error).mean():.1f}, "
              f"mean width {100 * width.mean():.1f}")  # fmt: skip


if __name__ == "__main__":
    main()
