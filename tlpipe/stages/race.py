"""Which strategy `auto` is: what the advice recommends, or the winner of a race between those that are tied."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from tlpipe.advise.decision import Contender, Decision, typical
from tlpipe.advise.scores import Score
from tlpipe.data.packed import Packed
from tlpipe.strategies.base import Strategy
from tlpipe.tasks import facet
from tlpipe.tasks.base import Scores
from tlpipe.train.trainer.events import Epoch

DECISIONS = Path("data/advice")


class Racer(Protocol):
    """One training of a contender, which can stop and go on: `tlpipe.stages.training.Run`."""

    view: Packed
    epochs: list[Epoch]
    interpolates: bool
    """Whether it ends between its start and its trained weights (WiSE-FT), so that epochs say little of its end."""

    def advance(self, epochs: int | None) -> None:
        """Train until so many epochs are done; None = to its end."""

    def scores(self) -> Scores:
        """Figures of what it holds out, at its end or before it began."""


Prepare = Callable[[Strategy], Sequence[Racer]]
"""A strategy's trainings, one for each part of the data, as its own stage would make them."""
Lap = dict[str, Any]
"""What a contender did: strategy, epochs, seconds, validation examples, and its `typical` accuracy or other score."""


def settle(name: str, strategy: Strategy, prepare: Prepare) -> tuple[Strategy, list[Lap]]:
    """The strategy that `name` stands for, and the laps of the race that chose it (none without a race).

    The winner's recovery state is kept, so its training goes on from there and ends with the bits that it would have
    had alone. Everything is decided by recorded epochs: killed anywhere, a race goes on and ends the same way.
    """
    if strategy.settled:
        return strategy, []
    contenders = Decision.read(DECISIONS / f"{name}.json").contenders
    print(f"{name}: the advice is {' or '.join(contender.name for contender in contenders)}")
    if len(contenders) == 1:
        return contenders[0].strategy, []
    raced = [contender for contender in contenders if contender.epochs]
    laps = [_lap(contender, prepare, contender.epochs) for contender in raced]
    finalists = [contender for contender in contenders if not contender.epochs]
    if raced:
        finalists.insert(0, _best(raced, laps))
    if len(finalists) > 1:
        finals = [_lap(contender, prepare, None) for contender in finalists]
        chosen, laps = _best(finalists, finals), [*laps, *finals]
    else:
        chosen = finalists[0]
    print(f"{name}: {chosen.name} wins the race")
    last = {lap["strategy"]: lap for lap in laps}
    return chosen.strategy, [{**lap, "chosen": lap["strategy"] == chosen.name} for lap in last.values()]


def _best(contenders: list[Contender], laps: list[Lap]) -> Contender:
    """By what advice and validation say together; of equal ones the one that the advice puts first."""
    pairs = zip(contenders, laps, strict=True)
    return max(pairs, key=lambda pair: pair[0].judged(pair[1]["accuracy"], pair[1]["samples"]))[0]


def _lap(contender: Contender, prepare: Prepare, epochs: int | None) -> Lap:
    """Train until so many epochs are done (None = to the end), or find that this was done before a kill.

    What the parts of the data hold out is judged together.
    """
    runs = prepare(contender.strategy)
    for run in runs:
        run.advance(epochs)
    score: Score = facet(runs[0].view.task, "advice:SCORE")
    samples = [score.count(run.view, *run.view.validated) for run in runs]

    def pooled(figures: Sequence[Scores]) -> float:
        weighted = [count * scores[score.validation] for count, scores in zip(samples, figures, strict=True)]
        return sum(weighted) / max(1, sum(samples))

    alike = list(zip(*(run.epochs[:epochs] for run in runs), strict=False))
    accuracies = [pooled([epoch.validation for epoch in parts]) for parts in alike]
    if not accuracies or (epochs is None and runs[0].interpolates):
        accuracies = [pooled([run.scores() for run in runs])]
    accuracy = typical(accuracies)
    print(f"race: {contender.name} is at {score.title} {accuracy:.4f} after {len(alike)} epochs", file=sys.stderr)
    return {
        "strategy": contender.name,
        "epochs": len(alike),
        "seconds": sum(epoch.seconds for parts in alike for epoch in parts),
        "samples": sum(samples),
        "accuracy": accuracy,
    }
