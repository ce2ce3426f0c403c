"""What is known of a target and a backbone before anything is trained: all of it measured on labelled samples."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlpipe.advise.curve import Point, learning_curve
from tlpipe.advise.marks import Kind, Labels, Marks
from tlpipe.advise.passes import Depths, input_shift, look, tangents
from tlpipe.advise.probe import Gain, Measured, cross_fitted, cross_validate, gain, measured, rank_in_class
from tlpipe.advise.scores import ACCURACY, Score
from tlpipe.backbones.base import Encoder
from tlpipe.data.packed import Packed
from tlpipe.tasks import facet
from tlpipe.train.hardware.device import Machine

LIMIT = 1000
"""Samples that the probes use at most: a stratified draw, so that advice takes seconds whatever the data."""
NUMBERS = 10**8
"""Of the features of all marks of these samples, 400 MB: a base-sized BERT gives 10,000 for a word."""


@dataclass(frozen=True)
class Evidence:
    """Accuracies are the scores of cross-validated probes: `score` says what they are."""

    samples: int
    """Labelled samples, all classes."""
    classes: int
    """To be told apart: of samples, of entities; 1 where it is a place that is looked for."""
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
    examples: int
    """Of all classes: samples, or what is to be found in them."""
    score: Score = ACCURACY
    transfer: Gain | None = None
    """`all_depths` minus `random`, paired: what the pretrained weights are worth, frozen. None where no more than these
    two scores were kept."""

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
        """Examples a class."""
        return self.examples / self.classes

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
            "examples": self.examples,
            "classes": self.classes,
            "samples_per_class": round(self.per_class, 1),
            "parameters_per_sample": round(self.parameters / self.samples, 1),
            "probed": self.probed,
            "depths": {group: round(each.accuracy, 4) for group, each in self.depths.items()},
            "last": _plain(self.last),
            "all_depths": _plain(self.all_depths),
            "random_weights": _plain(self.random),
            "all_depth_gap": round(self.depth_gap, 4),
            "transfer": self.transfer and {name: round(each, 4) for name, each in self.transfer._asdict().items()},
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


@dataclass(frozen=True)
class Subject:
    """The labelled samples that are looked at."""

    rows: NDArray[np.int64]
    """Of the packed arrays, ascending: all rows of these samples."""
    lines: NDArray[np.int64]
    """(M,) numbers of their marks, which are the lines of kept features."""
    marks: Marks
    labelled: int
    """Labelled samples in all, looked at or not."""
    samples: int
    """That are looked at."""
    examples: int
    """Of all labelled samples, as `Score.count` has them."""


def subject(packed: Packed, count: int, width: int, seed: int) -> Subject:
    """At most LIMIT samples of the first `count` rows: a stratified, seeded draw; all of them where they are fewer.

    Of samples with many marks fewer are drawn, so that all their features, `width` numbers a mark, are not more than
    NUMBERS.
    """
    kind: Kind = facet(packed.task, "advice:MARKS")
    score: Score = facet(packed.task, "advice:SCORE")
    sample = kind.sample(packed, count)
    bounds = np.array([packed.targets.range(row, row + 1) for row in range(count)])
    each = bounds[:, 1] - bounds[:, 0]
    labels = packed.targets.marks[: bounds[-1, 1]]
    kept = chosen(kind.strata(labels, np.repeat(sample, each)), np.bincount(sample, each), NUMBERS // width, seed)
    rows = np.flatnonzero(np.isin(sample, kept))
    lines = np.concatenate([np.arange(*bounds[row]) for row in rows])
    marks = kind.marks(packed, labels[lines], np.repeat(sample[rows], each[rows]))
    return Subject(rows, lines, marks, int(sample[-1]) + 1, len(kept), score.count(packed, 0, count))


def chosen(strata: Labels, marks: NDArray[Any], most: int, seed: int) -> NDArray[np.int64]:
    """Numbers of at most LIMIT samples, ascending, a share of each stratum.

    With at most `most` of their marks in all, or LIMIT where that is more.
    """
    order = np.arange(len(strata))
    if len(strata) > LIMIT or marks.sum() > max(most, LIMIT):
        order = np.argsort(rank_in_class(strata, seed), kind="stable")[:LIMIT]
        order = order[: max(1, int((np.cumsum(marks[order]) <= max(most, LIMIT)).sum()))]
    return np.sort(order)


def gather(
    features: Depths,
    encoder: Encoder,
    control: Encoder,
    packed: Packed,
    seen: Subject,
    machine: Machine,
    seed: int,
    directions: int,
) -> Evidence:
    """The evidence on the labelled samples that are `seen`.

    Args:
        features: Of the frozen backbone on their marks.
        encoder: The backbone.
        control: The same network with random weights.
        packed: The samples.
        seen: Which of them may be looked at.
        machine: Where the control's pass runs.
        seed: Of the folds, the nested parts and the directions.
        directions: Random directions of the linearised fine-tuning; 0 = leave it out.
    """
    marks, score = seen.marks, facet(packed.task, "advice:SCORE")
    random, seconds = look(control, packed, seen.rows, machine)
    depths = {group: cross_validate([each], marks, seed) for group, each in features.items()}
    won, control_won = (cross_fitted(list(each.values()), marks, seed) for each in (features, random))
    every = measured(won)
    top = list(features.values())[-1:]
    linearised = None
    if directions:
        changes = tangents(encoder, packed, seen.rows, machine, seed, directions)
        linearised = cross_validate([*top, *changes], marks, seed)
    better = list(features.values()) if every.accuracy > list(depths.values())[-1].accuracy else top
    return Evidence(
        samples=seen.labelled,
        classes=score.classes(packed),
        parameters=sum(parameter.numel() for parameter in encoder.parameters()),
        probed=seen.samples,
        depths=depths,
        all_depths=every,
        random=measured(control_won),
        transfer=gain(won, control_won),
        linearised=linearised,
        shift=input_shift(encoder, packed, seen.rows, machine),
        curve=tuple(learning_curve(better, marks, seed, seen.samples / len(marks.strata))),
        forward=seconds / seen.samples,
        examples=seen.examples,
        score=score,
    )
