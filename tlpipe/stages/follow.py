"""Progress and recovery state of a training, in the stages that train."""

import sys
from collections.abc import Iterator

from tlpipe.progress import track
from tlpipe.train.hardware.distributed import team
from tlpipe.train.trainer.events import Epoch, Event, Notice
from tlpipe.train.trainer.loop import Trainer
from tlpipe.train.trainer.resume import Keeper


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
    save(trainer, keeper, seen)


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
        if _due(trainer, keeper, isinstance(event, Epoch)):
            save(trainer, keeper, seen)
        yield event


def _due(trainer: Trainer, keeper: Keeper, epoch_ends: bool) -> bool:
    """By the first process's clock, if the state has to be put together by all."""
    due = keeper.due(epoch_ends)
    return team().gather(due)[0] if trainer.machine.shard else due


def save(trainer: Trainer, keeper: Keeper, seen: list[Epoch]) -> None:
    """Save the recovery state now; every process must call it."""
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
