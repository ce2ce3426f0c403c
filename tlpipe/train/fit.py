"""The training loop: it follows a Plan, yields what happened, and knows no file, no tracker and no progress bar."""

import copy
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from tlpipe.config import ConfigError
from tlpipe.schedule import factor
from tlpipe.strategies.plan import HEAD, Phase, Plan
from tlpipe.tasks.base import Task
from tlpipe.train.augment import Views, mix
from tlpipe.train.batches import Batches, class_weights, epoch_order
from tlpipe.train.device import Machine
from tlpipe.train.model import Classifier
from tlpipe.train.optimizer import apply_freeze, build_optimizer, set_rates
from tlpipe.train.randomness import derive, numpy_generator, torch_generator
from tlpipe.train.spec import Training

Scores = dict[str, float]


@dataclass(frozen=True)
class Step:
    """One optimizer step is done."""

    phase: str
    epoch: int
    done: int
    """Steps done in the phase."""
    total: int
    """Steps of the phase if it runs to its end."""


@dataclass(frozen=True)
class Epoch:
    """One pass over the training split is done and validated."""

    step: int
    """Optimizer steps since the start of the training."""
    phase: str
    epoch: int
    """Passes since the start of the training, from 1."""
    train_loss: float
    validation_loss: float
    validation_accuracy: float
    lr_min: float
    """Smallest peak rate that trains in the phase."""
    lr_max: float
    seconds: float
    samples_per_second: float


@dataclass
class Position:
    """Where a training is; with the weights and the optimizer this is all that there is to know."""

    phase: int = 0
    epoch: int = 0
    """Passes done in the phase."""
    batch: int = 0
    """Steps done in the pass."""
    steps: int = 0
    epochs: int = 0
    loss_sum: float = 0.0
    seconds: float = 0.0
    """Spent in the pass, before it was interrupted."""
    stale: int = 0
    """Passes since the last improvement."""
    best: Scores = field(default_factory=dict)


class Trainer:
    """Runs a Plan on a model. `run()` yields; `state()` and `restore()` continue bit for bit on the same machine."""

    def __init__(
        self, model: Classifier, plan: Plan, task: Task, training: Training, batches: Batches, machine: Machine
    ) -> None:
        self.model: Classifier = machine.place(model)  # type: ignore[assignment]
        self.plan = plan
        self.task = task
        self.training = training
        self.batches = batches
        self.machine = machine
        self.views = Views(batches.packed.preprocess, machine.device)
        self.optimizer = build_optimizer(model, plan, training)
        self.forward = torch.compile(model) if machine.compile_model else model
        self.at = Position()
        self.rows = batches.packed.rows("train")
        self.weights = self._weights()
        self.average = copy.deepcopy(self.model.state_dict()) if training.ema else None
        self.best = copy.deepcopy(self.model.state_dict())

    def _weights(self) -> Tensor | None:
        if self.training.balance != "weights":
            return None
        packed = self.batches.packed
        weights = class_weights(packed.labels[self.rows], len(packed.classes))
        return torch.from_numpy(weights).to(self.machine.device)

    def run(self) -> Iterator[Step | Epoch]:
        """Train from where it is to the end of the plan; at the end the model holds the best weights."""
        if not self.at.best:
            self.at.best = self.validate()
        while self.at.phase < len(self.plan.phases):
            yield from self._phase(self.plan.phases[self.at.phase])
        self.model.load_state_dict(self.best)
        self.model.eval()

    def _phase(self, phase: Phase) -> Iterator[Step | Epoch]:
        apply_freeze(self.model, phase)
        while self.at.epoch < phase.epochs and self.at.stale < self.training.patience:
            yield from self._epoch(phase)
        self.model.load_state_dict(self.best)
        if self.average is not None:
            self.average = copy.deepcopy(self.best)
        self.at.phase, self.at.epoch, self.at.stale = self.at.phase + 1, 0, 0

    def _epoch(self, phase: Phase) -> Iterator[Step | Epoch]:
        batches = self._order()
        begun = time.perf_counter() - self.at.seconds
        self._train_mode(phase)
        for rows in batches[self.at.batch :]:
            loss = self._step(phase, rows, len(batches))
            self.at.loss_sum += loss * len(rows)
            self.at.batch += 1
            self.at.steps += 1
            self.at.seconds = time.perf_counter() - begun
            done = self.at.epoch * len(batches) + self.at.batch
            yield Step(phase.name, self.at.epochs + 1, done, phase.epochs * len(batches))
        yield self._close_epoch(phase)

    def _order(self) -> list[np.ndarray[Any, np.dtype[np.int64]]]:
        generator = numpy_generator(self.training.seed, "order", self.at.phase, self.at.epoch)
        labels, balanced = self.batches.packed.labels, self.training.balance == "sampling"
        return epoch_order(labels, self.rows, self.training.batch_size, balanced, generator)

    def _train_mode(self, phase: Phase) -> None:
        self.model.train()
        self.model.head.train(phase.rates[HEAD] is not None)
        if self.training.norm_statistics == "source" and self.plan.start == "head":
            for module in self.model.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()

    def _step(self, phase: Phase, rows: np.ndarray[Any, np.dtype[np.int64]], per_epoch: int) -> float:
        seed = (self.training.seed, self.at.phase, self.at.epoch, self.at.batch)
        torch.manual_seed(derive("dropout", *seed))
        images, targets = self._batch(rows, torch_generator("augment", *seed))
        total = phase.epochs * per_epoch
        done = self.at.epoch * per_epoch + self.at.batch
        set_rates(
            self.optimizer, phase, factor(done, total, round(self.training.warmup * total), self.training.schedule)
        )
        with self.machine.autocast():
            logits = self.forward(images)
        loss = self.task.loss(logits.float(), targets, self.training.label_smoothing, self.weights)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if self.training.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.training.clip_norm)
        self.optimizer.step()
        self._average()
        return self._finite(float(loss.detach()), phase)

    def _batch(self, rows: np.ndarray[Any, np.dtype[np.int64]], generator: torch.Generator) -> tuple[Tensor, Tensor]:
        packed, labels = self.batches.load(rows)
        images = self.views.training(packed, self.training.augment, generator)
        targets = functional.one_hot(labels, len(self.batches.packed.classes)).float()
        return mix(images, targets, self.training.augment, generator)

    def _finite(self, loss: float, phase: Phase) -> float:
        if loss != loss or loss in (float("inf"), float("-inf")):
            highest = max(rate for rate in phase.rates.values() if rate is not None)
            raise ConfigError(
                f"the training loss became {loss} in phase {phase.name!r} at step {self.at.steps} with a peak learning "
                f"rate of {highest:g}: lower `lr` of this strategy (a tenth is a good try), or set training.clip_norm"
            )
        return loss

    @torch.no_grad()
    def _average(self) -> None:
        if self.average is None or self.training.ema is None:
            return
        for name, value in self.model.state_dict().items():
            mean = self.average[name]
            if mean.is_floating_point():
                mean.lerp_(value, 1 - self.training.ema)
            else:
                mean.copy_(value)

    def _close_epoch(self, phase: Phase) -> Epoch:
        kept = self.average if self.average is not None else self.model.state_dict()
        scores = self.validate(kept)
        self.at.epoch += 1
        self.at.epochs += 1
        self.at.stale += 1
        verdict = self._against_best(scores)
        if verdict >= 0:
            self.at.best, self.best = scores, copy.deepcopy(kept)
        if verdict > 0:
            self.at.stale = 0
        seconds, loss = self.at.seconds, self.at.loss_sum / len(self.rows)
        self.at.batch, self.at.loss_sum, self.at.seconds = 0, 0.0, 0.0
        rates = [rate for rate in phase.rates.values() if rate is not None]
        speed = len(self.rows) / seconds if seconds else 0.0
        return Epoch(
            self.at.steps, phase.name, self.at.epochs, loss, scores["loss"], scores["accuracy"], min(rates), max(rates),
            seconds, speed,
        )  # fmt: skip

    def _against_best(self, scores: Scores) -> int:
        """1 = better, 0 = as good, -1 = worse than the best so far, by `monitor`.

        Of equally good epochs the later one is kept: a small validation split is soon all right, and by then the
        weights have seen more views and lower rates (worth zero to six points in the trials of benchmarks/RESULTS.md).
        """
        sign = 1 if self.training.monitor == "accuracy" else -1
        new, old = (sign * each[self.training.monitor] for each in (scores, self.at.best))
        return (new > old) - (new < old)

    def validate(self, weights: dict[str, Tensor] | None = None) -> Scores:
        """Mean cross-entropy (nats) and accuracy on the validation split, of the model or of other `weights`."""
        logits, labels = self.scores(weights)
        loss = functional.cross_entropy(logits, labels)
        return {"loss": float(loss), "accuracy": float((logits.argmax(1) == labels).double().mean())}

    @torch.no_grad()
    def scores(self, weights: dict[str, Tensor] | None = None) -> tuple[Tensor, Tensor]:
        """Logits (N, C) in double precision and labels (N,) of the validation split, evaluation view, on the CPU."""
        own = copy.deepcopy(self.model.state_dict()) if weights is not None else None
        if weights is not None:
            self.model.load_state_dict(weights)
        self.model.eval()
        logits, labels = [], []
        for packed, target in self.batches.sweep("validation", self.training.batch_size):
            with self.machine.autocast():
                logits.append(self.model(self.views.evaluation(packed)).double().cpu())
            labels.append(target.cpu())
        if own is not None:
            self.model.load_state_dict(own)
        return torch.cat(logits), torch.cat(labels)

    def state(self) -> dict[str, Any]:
        """Everything that `restore` needs, as tensors and plain values."""
        return {
            "at": asdict(self.at),
            "model": self.model.state_dict(),
            "best": self.best,
            "average": self.average,
            "optimizer": self.optimizer.state_dict(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from `state()` of a trainer with the same plan, data and recipe."""
        self.at = Position(**{each.name: state["at"][each.name] for each in fields(Position)})
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.best = _on(state["best"], self.machine.device)
        self.average = None if state["average"] is None else _on(state["average"], self.machine.device)


def _on(tensors: dict[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    return {name: value.to(device) for name, value in tensors.items()}
