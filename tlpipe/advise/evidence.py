"""What is known of a target and a backbone before anything is trained: all of it measured on labelled samples."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlpipe.advise.curve import Point, learning_curve
from tlpipe.advise.passes import Depths, input_shift, look, tangents
from tlpipe.advise.probe import Labels, Measured, cross_validate, rank_in_class
from tlpipe.backbones.base import Encoder
from tlpipe.data.packed import Packed
from tlpipe.train.device import Machine

LIMIT = 1000
"""Samples that the probes use at most: a stratified draw, so that advice takes seconds whatever the data."""


@dataclass(frozen=True)
class Evidence:
    """Accuracies are of cross-validated probes."""

    samples: int
    """Labelled samples, all classes."""
    classes: int
    parameters: int
    """Of the backbone."""
    probed: int
    """Samples that the probes used."""
    depths: Mapping[str, Measured]
    """By layer group, from the input to the top."""
    all_depths: Measured
    """On the features of all depths together."""
    random: Measured
    """The same, of the same network with random weights."""
    linearised: Measured | None
    """On the top features and their tangents; None when not asked for."""
    shift: float | None
    """Distance of the inputs from the source's, in standard deviations; None where the backbone has no batch norms."""
    curve: tuple[Point, ...]
    """The learning curve of the better frozen probe."""
    forward: float
    """Seconds of one sample's forward pass on this machine."""

    @property
    def last(self) -> Measured:
        """The probe of the top features."""
        return list(self.depths.values())[-1]

    @property
    def best(self) -> Measured:
        """The better of that and of all depths together: the all-depth head may leave the lower depths aside."""
        return max(self.last, self.all_depths, key=lambda each: each.accuracy)

    @property
    def per_class(self) -> float:
        """Samples a class."""
        return self.samples / self.classes

    @property
    def depth_gap(self) -> float:
        """What the lower depths add to the top: positive where the task's answer is lost on the way up."""
        return self.all_depths.accuracy - self.last.accuracy

    @property
    def fit(self) -> float:
        """How well the frozen features fit the task: the share of a random network's errors that they remove."""
        wrong = 1 - self.random.accuracy
        return (self.all_depths.accuracy - self.random.accuracy) / wrong if wrong else 0.0

    def summary(self) -> dict[str, Any]:
        """Plain values, for reports/advice.json."""
        linearised = None if self.linearised is None else round(self.linearised.accuracy, 4)
        return {
            "samples": self.samples,
            "classes": self.classes,
            "samples_per_class": round(self.per_class, 1),
            "parameters_per_sample": round(self.parameters / self.samples, 1),
            "probed": self.probed,
            "depths": {group: round(each.accuracy, 4) for group, each in self.depths.items()},
            "last": _plain(self.last),
            "all_depths": _plain(self.all_depths),
            "random_weights": _plain(self.random),
            "all_depth_gap": round(self.depth_gap, 4),
            "pretrained_minus_random": round(self.all_depths.accuracy - self.random.accuracy, 4),
            "task_fit": round(self.fit, 4),
            "linearised": linearised,
            "input_shift": None if self.shift is None else round(self.shift, 3),
            "learning_curve": [
                {
                    "samples": point.samples, "accuracy": round(point.accuracy, 4), "low": round(point.low, 4),
                    "high": round(point.high, 4), "measured": point.measured,
                }
                for point in self.curve
            ],
        }  # fmt: skip


def _plain(measured: Measured) -> dict[str, float]:
    return {"accuracy": round(measured.accuracy, 4), "sigma": round(measured.sigma, 4)}


def chosen(labels: Labels, seed: int) -> NDArray[np.int64]:
    """Positions of at most LIMIT samples, ascending: a stratified, seeded draw; all of them where they are fewer."""
    if len(labels) <= LIMIT:
        return np.arange(len(labels))
    return np.sort(np.argsort(rank_in_class(labels, seed), kind="stable")[:LIMIT])


def gather(
    features: Depths,
    encoder: Encoder,
    control: Encoder,
    packed: Packed,
    rows: NDArray[np.int64],
    machine: Machine,
    seed: int,
    directions: int,
) -> Evidence:
    """The evidence on the labelled `rows` of `packed`.

    Args:
        features: Of the frozen backbone on `rows`.
        encoder: The backbone.
        control: The same network with random weights.
        packed: The images.
        rows: Labelled samples that may be looked at.
        machine: Where the control's pass runs.
        seed: Of the folds, the nested parts and the directions.
        directions: Random directions of the linearised fine-tuning; 0 = leave it out.
    """
    labels, classes = packed.labels[rows], len(packed.classes)
    used = chosen(labels, seed)
    known, own = labels[used], {group: each[used] for group, each in features.items()}
    random, seconds = look(control, packed, rows[used], machine)
    depths = {group: cross_validate([each], known, classes, seed) for group, each in own.items()}
    every = cross_validate(list(own.values()), known, classes, seed)
    top = list(own.values())[-1:]
    linearised = None
    if directions:
        changes = tangents(encoder, packed, rows[used], machine, seed, directions)
        linearised = cross_validate([*top, *changes], known, classes, seed)
    better = list(own.values()) if every.accuracy > list(depths.values())[-1].accuracy else top
    return Evidence(
        samples=len(labels),
        classes=classes,
        parameters=sum(parameter.numel() for parameter in encoder.parameters()),
        probed=len(used),
        depths=depths,
        all_depths=every,
        random=cross_validate(list(random.values()), known, classes, seed),
        linearised=linearised,
        shift=input_shift(encoder, packed, rows[used], machine),
        curve=tuple(learning_curve(better, known, classes, seed)),
        forward=seconds / len(used),
    )
