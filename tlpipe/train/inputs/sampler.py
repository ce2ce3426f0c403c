"""Which samples each step of a training takes, in which order, and what they are to give."""

import numpy as np
import torch
from torch import Tensor

from tlpipe.tasks.base import Task
from tlpipe.train.hardware.distributed import Team
from tlpipe.train.inputs.augmentation import mix
from tlpipe.train.inputs.batches import Batches, RowNumbers, epoch_order
from tlpipe.train.inputs.feed import share_of
from tlpipe.train.spec import Training
from tlpipe.train.trainer.randomness import numpy_generator


class Sampler:
    """The training split's batches: a function of the seed, the phase and the epoch."""

    def __init__(self, batches: Batches, task: Task, training: Training, team: Team) -> None:
        self.batches, self.task, self.training, self.team = batches, task, training, team
        self.rows = batches.packed.rows("train")
        self.marks = batches.packed.targets.count(self.rows)
        """What a pass's mean loss is the mean over."""

    def order(self, phase: int, epoch: int) -> list[RowNumbers]:
        """The rows of each batch of a pass."""
        generator = numpy_generator(self.training.seed, "order", phase, epoch)
        packed, balanced = self.batches.packed, self.training.balance == "sampling"
        return epoch_order(packed.labels, self.rows, self.training.batch_size, balanced, generator, packed.lengths)

    def longest(self) -> RowNumbers | None:
        """As many rows as a batch has, those with the most tokens; None where all have one size."""
        lengths = self.batches.packed.lengths
        if lengths is None:
            return None
        return self.rows[np.argsort(lengths[self.rows], kind="stable")[-self.training.batch_size :]]

    def marks_of(self, rows: RowNumbers) -> int:
        """What the mean loss of a batch is the mean over, over all processes."""
        return max(1, self.batches.packed.targets.count(rows))

    def mixed(self, x: Tensor, rows: RowNumbers, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """This process's inputs and targets of the batch `rows`; `x` is what `share_of` asked for."""
        labels = self.batches.labels_of(rows[share_of(rows, self.training, self.team)])
        targets = self.task.targets(labels, len(self.batches.packed.classes))
        x, targets = mix(x, targets, self.training.augment, generator)
        share = self.team.share(len(rows)) if len(x) == len(rows) else slice(None)
        return x[share], targets[share]
