"""Which strategy `auto` is: what the advice recommends, or the winner of a race between those that are tied."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tlpipe.advise.decision import Contender, Decision, typical
from tlpipe.advise.scores import SCORES
from tlpipe.stages.follow import follow, resume
from tlpipe.strategies.base import Strategy
from tlpipe.train.checkpoint import Keeper
from tlpipe.train.events import Epoch
from tlpipe.train.fit import Trainer

DECISIONS = Path("data/advice")
Prepare = Callable[[Strategy], tuple[Trainer, Keeper]]
"""A strategy's trainer, as its own stage would make it, and where its recovery state is."""
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
    """Train until so many epochs are done (None = to the end), or find that this was done before a kill."""
    trainer, keeper = prepare(contender.strategy)
    packed, start = trainer.batches.packed, trainer.validate()
    score = SCORES[packed.preprocess.kind]
    seen = resume(trainer, keeper)
    for _ in _until(trainer, keeper, contender.name, seen, epochs):
        pass
    counted = seen[:epochs]
    accuracy = typical([epoch.validation[score.validation] for epoch in counted] or [start[score.validation]])
    if epochs is None and trainer.plan.wise_ft:
        accuracy = trainer.validate()[score.validation]  # its end lies between two, so its epochs say little of it
    print(f"race: {contender.name} is at {score.title} {accuracy:.4f} after {len(counted)} epochs", file=sys.stderr)
    return {
        "strategy": contender.name,
        "epochs": len(counted),
        "seconds": sum(epoch.seconds for epoch in counted),
        "samples": score.count(packed, *packed.ranges["validation"]),
        "accuracy": accuracy,
    }


def _until(trainer: Trainer, keeper: Keeper, name: str, seen: list[Epoch], epochs: int | None) -> Iterator[Epoch]:
    if epochs is not None and len(seen) >= epochs:
        return
    for epoch in follow(trainer, keeper, name, seen):
        yield epoch
        if epochs is not None and len(seen) >= epochs:
            return
