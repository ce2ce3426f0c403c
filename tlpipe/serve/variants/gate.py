"""What a variant of a bundle must be to be kept, and what was measured of one."""

from collections.abc import Iterator
from typing import Annotated

from pydantic import Field

from tlpipe.bundle import Figure
from tlpipe.config import Spec
from tlpipe.data.packed import Split
from tlpipe.evaluate.judged import lower_title
from tlpipe.evaluate.paired import Loss

AGREEMENT = "agreement"
"""What stands for a metric where labels must not be looked at."""


class Gate(Spec):
    """What a variant must be to be kept."""

    loss: Annotated[float, Field(ge=0, le=1)] = 0.02
    """Most of the task's first figure (accuracy, entity F1, answer F1) that may be lost: the exact upper 95 % bound of
    the loss must not be above it. Without validation samples: most samples of which something else is predicted."""
    faster: Annotated[float, Field(ge=1)] = 1.1
    """Least speed, relative to the bundle's own, at every timed size of a call."""
    calibration: Annotated[int, Field(ge=2)] = 128
    """Training rows for calibration, and as many others to choose the calibrator by."""
    rounds: Annotated[int, Field(ge=3)] = 25
    """Timed calls of each size; the bundle and the variant take turns."""
    seed: int = 0


class Finding(Spec):
    """One variant, measured."""

    variant: str
    device: str
    split: Split
    """Whose samples judge it: `validation`, or `test` where the model has learnt from everything else."""
    samples: int
    """Images, texts, sentences or questions of that split."""
    agreement: float
    """Share of them of which it says the same as the bundle: the label, all entities, the answer."""
    metric: str
    """The task's first figure; `agreement` on the test split, whose labels no choice may look at."""
    loss: Figure
    """How much of it is lost, with one-sided 95 % bounds (`tlpipe.evaluate.paired`); negative when it is better."""
    worse: int
    """Samples that it makes worse."""
    better: int
    """Samples that it turns from wrong to right."""
    needed: int | None
    """Samples like these that would show that no more than `Gate.loss` is lost; None where no number would."""
    speed: dict[str, float]
    """By size of a call: the bundle's median time divided by the variant's, taken in turns."""
    bytes: int
    of_bytes: int
    """The bundle's own."""
    chosen_by: dict[str, float]
    """By calibrator: mean difference of probabilities on training samples that did not calibrate."""
    problems: tuple[str, ...]
    """Why it is not kept, a sentence each; empty when it is."""

    def summary(self) -> str:
        """The figures in one line."""
        speeds = ", ".join(f"{ratio:.2f} times as fast at {size} a call" for size, ratio in self.speed.items())
        bounds = (self.loss.value, self.loss.low, self.loss.high)
        value, low, high = (float("nan") if each is None else each for each in bounds)
        return (
            f"{self.bytes / self.of_bytes:.0%} of the size, {speeds}, the same said of {self.agreement:.1%} of "
            f"{self.samples} {self.split} samples, {lower_title(self.metric)} lost {value:.4f} [{low:.4f}, {high:.4f}]"
        )


class Failure(Spec):
    """One variant that could not be made or does not run."""

    variant: str
    problems: tuple[str, ...]

    def summary(self) -> str:
        """In one line."""
        return "not measured"


def problems(metric: str, loss: Loss, speed: dict[str, float], sound: bool, gate: Gate) -> Iterator[str]:
    """Why a variant with these figures is not kept."""
    if not sound:
        yield "its outputs are not finite"
    elif loss.interval.high > gate.loss:
        yield (
            f"it may lose {loss.interval.high:.4f} of {lower_title(metric)} (upper 95 % bound: {loss.worse} of "
            f"{loss.samples} samples worse, {loss.better} better), allowed {gate.loss:g}; {_remedy(loss)}"
        )
    for size, ratio in speed.items():
        if ratio < gate.faster:
            yield f"{size} a call: {ratio:.2f} times the bundle's speed here, required {gate.faster:g}"


def _remedy(loss: Loss) -> str:
    if loss.needed is None:
        return "more samples would not help, it loses that much"
    if loss.needed <= loss.samples:
        return "the share of worse samples would do, the figure's own interval is too wide"
    return f"about {loss.needed:,} samples like these would be needed to show that it loses no more"
