"""What every stage does around its work: say what is wrong in one message, and follow a training."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext

from tlpipe import config
from tlpipe.config import ConfigError
from tlpipe.progress import track
from tlpipe.train.checkpoint import Keeper, claimed
from tlpipe.train.device import Runtime
from tlpipe.train.events import Epoch, Event, Notice
from tlpipe.train.fit import Trainer
from tlpipe.train.parallel import launch, refuse, team
from tlpipe.troubles import KEPT, TRACEBACKS, sentence


def run(work: Callable[[], None], together: bool = False, trains: str | None = None) -> None:
    """Do the stage's work; a ConfigError, or one of the system's, becomes a message on stderr and exit code 2.

    `together`: in as many processes as `runtime.processes` says, of which the first one alone speaks and writes.
    `trains`: the name of the recovery state that no other `dvc repro` may work at meanwhile.
    """
    try:
        if together:
            stage = sys.modules["__main__"].__spec__
            launch(config.load("runtime", Runtime).processes, stage.name if stage else "", sys.argv[1:])
            if not team().first:
                sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115
        with claimed(trains) if trains and team().first else nullcontext():
            work()
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        refuse()
    except Exception as error:
        said = sentence(error, KEPT)
        if said is None or os.environ.get(TRACEBACKS):
            raise
        # torchrun would start the workers again, and the disk would still be full
        print(f"error: {said}", file=sys.stderr, flush=True)
        refuse()


def follow(trainer: Trainer, keeper: Keeper, description: str, seen: list[Epoch]) -> Iterator[Epoch]:
    """Run a training to its end with a progress bar, yielding each epoch; recovery state is saved on the way.

    `seen` holds the epochs of an earlier, killed run on entry (from `resume`), and all of them at the end.
    """
    total = _total(trainer)
    events = _steps(trainer, keeper, seen)
    for event in track(events, description, total, "steps") if total else events:
        if isinstance(event, Notice):
            print(f"{description}: {event.text}", file=sys.stderr)
        if isinstance(event, Epoch):
            yield event
    _save(trainer, keeper, seen)


def resume(trainer: Trainer, keeper: Keeper) -> list[Epoch]:
    """Continue a killed training where it was saved last; the epochs that it had done, none if it is a new one."""
    state = team().gather(keeper.load() if team().first else None)[0]
    if state is None:
        # the disk may have room for something else when a killed training begins again
        if team().first:
            keeper.save({"frozen": trainer.frozen.choice.state()})
        return []
    if "trainer" not in state:
        trainer.frozen.choice.restore(state["frozen"])
        return []
    trainer.restore(state["trainer"])
    seen = [Epoch(**epoch) for epoch in state["history"]]
    print(f"resuming after epoch {trainer.at.epochs}, step {trainer.at.steps} ({keeper.path})", file=sys.stderr)
    return seen


def _steps(trainer: Trainer, keeper: Keeper, seen: list[Epoch]) -> Iterator[Event]:
    for event in trainer.run():
        if isinstance(event, Epoch):
            seen.append(event)
        if isinstance(event, Epoch) or _due(trainer, keeper):
            _save(trainer, keeper, seen)
        yield event


def _due(trainer: Trainer, keeper: Keeper) -> bool:
    """By the first process's clock, if the state has to be put together by all."""
    return team().gather(keeper.due())[0] if trainer.machine.shard else keeper.due()


def _save(trainer: Trainer, keeper: Keeper, seen: list[Epoch]) -> None:
    if not (team().first or trainer.machine.shard):
        return
    state = {"trainer": trainer.state(), "history": [vars(epoch) for epoch in seen]}
    if team().first:
        keeper.save(state)


def _total(trainer: Trainer) -> int:
    """Steps and epochs that are left if nothing ends early, and first looks at frozen layers if none was had."""
    batches = -(-len(trainer.rows) // trainer.training.batch_size)
    passes = sum(phase.epochs for phase in trainer.plan.phases[trainer.at.phase :]) - trainer.at.epoch
    return passes * (batches + 1) - trainer.at.batch + trainer.frozen.looks
