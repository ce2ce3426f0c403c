"""What validation has chosen so far: the best weights, the last checkpoints, and in the end a mixture of them."""

import copy
from typing import Any

from torch import nn

from tlpipe.strategies.ending import Ending
from tlpipe.strategies.plan import Plan
from tlpipe.tasks.base import Scores
from tlpipe.train.hardware.fsdp import is_part, parts
from tlpipe.train.trainer.events import Position
from tlpipe.train.trainer.weight_averaging import Candidate, Score, Weights, average, finish, interpolate, verdict_on


class Selection:
    """Holds the weights that a training may end with; where it is and how good it was stands in its `Position`."""

    def __init__(self, model: nn.Module, plan: Plan, monitor: str, last: bool = False) -> None:
        """`monitor` is the name of a figure in `Scores`; `last`: end with the weights after the last epoch."""
        self.plan, self.monitor, self.last = plan, monitor, last
        self.best: Weights = copy.deepcopy(model.state_dict())
        self.start = copy.deepcopy(self.best) if plan.wise_ft else None
        self.recent: list[Candidate] = []
        """After the last epochs of the last phase, as many as the plan's soup may take."""
        self.ending: Ending | None = None

    def take(self, at: Position, scores: Scores, weights: Weights) -> None:
        """An epoch is done: keep its weights if they are as good as the best ones, the start's among them.

        Patience compares the epochs of a phase with one another: what begins better than it is after its warm-up (the
        head that was fitted on the same features, the phase before) does not end it.
        """
        if self.last or not scores or verdict_on(scores, at.best, self.monitor) >= 0:
            at.best, at.best_epoch, self.best = scores, at.epochs, copy.deepcopy(weights)
        if self.monitor in scores and (not at.peak or verdict_on(scores, at.peak, self.monitor) > 0):
            at.peak, at.stale = scores, 0
        if self.plan.soup and at.phase == len(self.plan.phases) - 1:
            self.recent = [*self.recent, (at.epochs, scores, on_host(weights))][-self.plan.soup :]

    def finish(self, at: Position, score: Score) -> Weights:
        """The weights that the plan's post-steps end with.

        `best` stays what it was, so that an end that was killed begins again from the same.
        """
        candidates = {each[0]: each for each in self.recent}
        if self.plan.soup:
            candidates[at.best_epoch] = (at.best_epoch, at.best, on_host(self.best))
        start = on_host(self.start) if self.start is not None and candidates else self.start
        weights, self.ending = finish(self.best, list(candidates.values()), start, score, self.monitor)
        return weights

    def settle(self, alpha: float | None) -> Weights:
        """The weights that a training ends with whose post-steps choose nothing.

        The average of the last epochs for a plan with a soup, then `alpha` of the way there from the start.
        """
        weights = average([each[2] for each in self.recent]) if self.recent else self.best
        return weights if alpha is None or self.start is None else interpolate(self.start, weights, alpha)

    def close(self, at: Position) -> None:
        """The training is over: write down what it ended with."""
        ending = self.ending or Ending()
        members = ending.soup or (at.best_epoch,)
        kept = ending.alpha == 0 or set(members) == {0}
        monitor = None if self.last else self.monitor
        facts = {"epoch": at.best_epoch, "epochs": at.epochs, "monitor": monitor, "kept_start": kept}
        self.ending = ending.model_copy(update=facts)

    def state(self) -> dict[str, Any]:
        """What cannot be made again."""
        return {"best": self.best, "recent": [list(each) for each in self.recent]}

    def restore(self, state: dict[str, Any], like: Weights) -> None:
        """Go on from `state()`, with tensors that are where those of `like`, the model's, are."""
        self.best = placed(state["best"], like)
        self.recent = [(epoch, scores, on_host(placed(kept, like))) for epoch, scores, kept in state["recent"]]


def on_host(weights: Weights) -> Weights:
    """A copy in the host's memory, where many checkpoints have room; what is shared out between GPUs stays there."""
    return {
        name: value.detach().clone() if is_part(value) else value.detach().to("cpu", copy=True)
        for name, value in weights.items()
    }


def placed(weights: Weights, like: Weights) -> Weights:
    """The same weights on the devices of `like`, and shared out as they are."""
    return parts({name: value.to(like[name].device) for name, value in weights.items()}, like)
