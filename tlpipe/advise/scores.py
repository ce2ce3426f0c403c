"""What advice is about: the figure that a task's probes are measured in and its strategies are predicted in."""

from collections.abc import Callable
from dataclasses import dataclass

from tlpipe.data.packed import Packed

CARRIED = 2.0
"""Factor on the uncertainty of rules where they are used for another figure than the accuracy of whole samples, which
they were fitted on: nobody has measured how they carry over."""


@dataclass(frozen=True)
class Score:
    """A share between 0 and 1, so that what is missing to 1 can stand for the error that the rules take."""

    name: str
    """In reports/advice.json."""
    title: str
    validation: str
    """What the trainer calls it on the validation split."""
    test: str | None
    """The metric of evaluations that is the same figure; None where they have no such one."""
    samples: str
    """What samples are called."""
    examples: str
    """What `Evidence.per_class` counts, in words."""
    doubt: float
    """Factor on the uncertainty of the rules."""
    exact: bool
    """Whether a probe is the frozen head itself, so that nothing but the draw of samples is uncertain of its score."""
    count: Callable[[Packed, int, int], int]
    """Examples in rows `low` to `high` of the packed arrays: samples, entities, windows that hold an answer."""
    classes: Callable[[Packed], int]
    """How many kinds of examples are to be told apart."""


ACCURACY = Score(
    name="accuracy",
    title="accuracy",
    validation="accuracy",
    test="accuracy",
    samples="samples",
    examples="samples a class",
    doubt=1.0,
    exact=False,
    count=lambda _, low, high: high - low,
    classes=lambda packed: len(packed.classes),
)


def assumption(score: Score) -> str:
    """What has to be said of predictions in a score that the rules were not fitted on."""
    return (
        f"the rules were fitted on accuracies of whole images; for {score.title} they hold by assumption, with "
        f"{score.doubt:g} times the uncertainty"
    )
