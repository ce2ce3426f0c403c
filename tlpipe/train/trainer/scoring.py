"""A model's logits on the validation split, in batches as large as memory allows."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from tlpipe.tasks.base import Task
from tlpipe.train.hardware.batch_fitting import Fitting
from tlpipe.train.hardware.device import Machine
from tlpipe.train.inputs.feed import Feed
from tlpipe.train.model import Classifier

BATCH = {"cuda": 512}
"""Samples that are validated together, elsewhere 64; halved while they do not fit."""


class Scorer:
    """Remembers which batch fitted."""

    def __init__(self, machine: Machine, task: Task) -> None:
        self.machine, self.task = machine, task
        self.fitting = Fitting(machine, BATCH.get(machine.device.type, 64))

    def scores(self, model: Classifier, feed: Feed) -> tuple[Tensor, Tensor]:
        """Logits (M, C) in double precision and labels (M,) of the validation split's marks, in order, on the CPU."""
        while True:
            try:
                batches = feed.validation(self.fitting.size)
                mine = [self.task.marked(self._logits(model, x, feed.start), y.cpu()) for x, y in batches]
                logits, labels = zip(*self.machine.team.in_turn(mine), strict=True)
                packed = feed.batches.packed
                low, high = packed.targets.range(*packed.validated)
                return joined(logits)[: high - low], torch.cat(labels)[: high - low]
            except torch.OutOfMemoryError:
                if self.fitting.size == 1 or self.machine.team.size > 1:
                    raise
            self.fitting.halve(self.fitting.size)

    def _logits(self, model: Classifier, x: Tensor, start: int) -> Tensor:
        # tensors that are put together in inference mode could not be trained afterwards
        quiet = torch.no_grad() if self.machine.shard else torch.inference_mode()
        with quiet, self.machine.autocast():
            logits: Tensor = model(x, start)
        return logits.cpu().double()


def joined(logits: Sequence[Tensor]) -> Tensor:
    """Outputs of several batches one below the other; those over fewer positions get more of them, at -inf."""
    width = max(each.shape[1] for each in logits)
    return torch.cat([functional.pad(each, (0, width - each.shape[1]), value=-torch.inf) for each in logits])
