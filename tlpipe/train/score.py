"""A model's logits on the validation split, in batches as large as memory allows."""

import torch
from torch import Tensor

from tlpipe.train.device import Machine
from tlpipe.train.feed import Feed
from tlpipe.train.model import Classifier

BATCH = {"cuda": 512}
"""Samples that are validated together, elsewhere 64; halved while they do not fit."""


class Scorer:
    """Remembers which batch fitted."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self._batch = BATCH.get(machine.device.type, 64)

    def scores(self, model: Classifier, feed: Feed) -> tuple[Tensor, Tensor]:
        """Logits (N, C) in double precision and labels (N,) of the validation split, in its order, on the CPU."""
        while True:
            try:
                mine = [(self._logits(model, x, feed.start), y.cpu()) for x, y in feed.validation(self._batch)]
                logits, labels = zip(*self.machine.team.in_turn(mine), strict=True)
                count = len(feed.batches.packed.rows("validation"))
                return torch.cat(logits)[:count], torch.cat(labels)[:count]
            except torch.OutOfMemoryError:
                if self._batch == 1 or self.machine.team.size > 1:
                    raise
                self._batch //= 2

    def _logits(self, model: Classifier, x: Tensor, start: int) -> Tensor:
        # tensors that are put together in inference mode could not be trained afterwards
        quiet = torch.no_grad() if self.machine.shard else torch.inference_mode()
        with quiet, self.machine.autocast():
            logits: Tensor = model(x, start)
        return logits.cpu().double()
