"""What a batch's loss asks of the weights, in pieces where the batch does not fit into memory."""

from collections.abc import Generator

import torch
from torch import Tensor, nn

from tlpipe.tasks.base import Task
from tlpipe.train.hardware.device import Machine
from tlpipe.train.inputs.batches import Batches, class_weights
from tlpipe.train.spec import Training
from tlpipe.train.trainer.events import Notice, Position
from tlpipe.train.trainer.optimizer import Update


class Gradients:
    """Computes them through `forward`, which each phase sets to what its steps call."""

    def __init__(self, update: Update, task: Task, training: Training, batches: Batches, machine: Machine) -> None:
        self.forward: nn.Module = update.model
        self.update, self.task, self.training, self.machine = update, task, training, machine
        self.weights = self._weights(batches) if training.balance == "weights" else None
        """Of the classes in the loss."""

    def _weights(self, batches: Batches) -> Tensor:
        packed = batches.packed
        weights = class_weights(packed.targets.marks[packed.marks("train")], len(packed.classes))
        return torch.from_numpy(weights).to(self.machine.device)

    def of(self, x: Tensor, targets: Tensor, count: int, start: int, at: Position) -> Generator[Notice, None, Tensor]:
        """The summed loss of this process's part of a batch of `count` marks, with the gradients of the batch's mean.

        In more pieces (`at.pieces`) whenever one does not fit into memory; the processes of a team must not differ in
        that.

        Args:
            x: Inputs (B, ...) of the layer group `start`.
            targets: (B, ...) as the task's loss takes them.
            count: Marks of the whole batch, over all processes.
            start: Its number, from the input to the top.
            at: Where the training is.
        """
        while True:
            try:
                return self.accumulate(x, targets, count, start, at.pieces)
            except torch.OutOfMemoryError:
                if at.pieces >= len(x) or self.machine.team.size > 1:
                    raise
                at.pieces *= 2
            self.update.zero_grad()
            torch.cuda.empty_cache()
            yield Notice(
                f"out of memory on {self.machine.device}: each batch of {self.training.batch_size} is now computed in "
                f"{at.pieces} pieces whose gradients are added up; batch norms that use the batch's statistics "
                "see a piece at a time"
            )

    def accumulate(self, x: Tensor, targets: Tensor, count: int, start: int, pieces: int) -> Tensor:
        """As `of`, in this many pieces, or as many as there are samples."""
        self.update.zero_grad()
        total, pieces = torch.zeros((), device=x.device), min(pieces, len(x))
        for part, target in zip(x.tensor_split(pieces), targets.tensor_split(pieces), strict=True):
            with self.machine.autocast():
                logits = self.forward(part, start)
            loss = self.task.loss(logits.float(), target, self.training.label_smoothing, self.weights)
            marks = self.task.count(target)
            self.update.scaling.scaled(loss * (marks * self.machine.team.size / count)).backward()
            total += loss.detach() * marks
        return total
