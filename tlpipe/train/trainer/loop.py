"""The training loop: it follows a Plan, yields what happened, and knows no file, no tracker and no progress bar."""

import copy
import math
import time
from collections.abc import Iterator
from dataclasses import asdict, fields
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tlpipe.config import ConfigError
from tlpipe.schedule import factor
from tlpipe.strategies.plan import HEAD, Phase, Plan
from tlpipe.tasks.base import Scores, Task
from tlpipe.train.cache.activation_cache import ROOT, VALIDATION, ActivationCache, CacheFill
from tlpipe.train.hardware.device import Machine
from tlpipe.train.hardware.distributed import synchronise_norms
from tlpipe.train.hardware.fsdp import parts, shard, whole
from tlpipe.train.inputs.batches import Batches, RowNumbers
from tlpipe.train.inputs.feed import Feed, Fresh, Kept
from tlpipe.train.inputs.sampler import Sampler
from tlpipe.train.inputs.views import views_of
from tlpipe.train.model import Classifier
from tlpipe.train.spec import Training
from tlpipe.train.trainer.checkpoint_selection import Selection
from tlpipe.train.trainer.crossfit import SINGLE, HeldOut, Role
from tlpipe.train.trainer.ema import MovingAverage
from tlpipe.train.trainer.events import Epoch, Event, Notice, Position, Step
from tlpipe.train.trainer.gradients import Gradients
from tlpipe.train.trainer.loss_scaling import LossScaling
from tlpipe.train.trainer.optimizer import Update
from tlpipe.train.trainer.randomness import seed_device, torch_generator
from tlpipe.train.trainer.scoring import Scorer
from tlpipe.train.trainer.validation import Validation
from tlpipe.train.trainer.weight_averaging import ALPHAS, Weights, interpolate, wise_ft

CHECK_EVERY = 50
"""Steps between looks at the loss on a GPU: each look waits for all that was queued there."""


class Trainer:
    """Runs a Plan on a model. `run()` yields; `state()` and `restore()` continue bit for bit on the same machine."""

    def __init__(
        self,
        model: Classifier,
        plan: Plan,
        task: Task,
        training: Training,
        batches: Batches,
        machine: Machine,
        cache: Path = ROOT,
        role: Role = SINGLE,
    ) -> None:
        self.model: Classifier = machine.place(model)  # type: ignore[assignment]
        self.plan, self.task, self.training, self.machine = plan, task, training, machine
        self.role, self.held_out = role, HeldOut()
        self.team = machine.team
        if self.team.size > 1 and not self._keeps_norms:
            synchronise_norms(self.model, machine.device)
        if machine.shard:
            self._share_out()
        self.batches = batches
        self.sampler = Sampler(batches, task, training, self.team)
        self.rows = self.sampler.rows
        self.update = Update(model, plan, training, len(self.rows), LossScaling(machine.device, machine.dtype))
        self.gradients = Gradients(self.update, task, training, batches, machine)
        self._rehearsed = True
        self.at = Position()
        self.average = MovingAverage(self.model, training.ema)
        self.patience = None if role.records else training.patience
        compares = role.keeps == "best" or self.patience is not None
        self.validation = Validation(task, training.monitor, batches.packed, ties=compares and plan.soup > 0)
        self.judge = self.validation if compares else partial(task.scores, packed=batches.packed)
        self.selection = Selection(self.model, plan, self.validation.monitor, last=role.keeps == "last")
        self.frozen = ActivationCache(self.model, plan, task, training, batches, machine, cache)
        self.fresh = Fresh(batches, views_of(batches.packed.preprocess, machine.device), training, machine)
        self.feed: Feed = self.fresh
        self._loss = torch.zeros((), device=machine.device)
        self.scorer = Scorer(machine, task)

    def _share_out(self) -> None:
        if self.plan.lora:
            raise ConfigError("runtime.shard: low-rank adapters are small; train lora with runtime.shard set to false")
        shard(self.model, self.machine.device, self.team.size)

    def run(self) -> Iterator[Event]:
        """Train from where it is to the end of the plan; at the end the model holds what its role keeps."""
        self.machine.refuse_what_fails()
        if not self.at.best and len(self.batches.packed.rows("validation")):
            self.at.best = self._judge()
        while self.at.phase < len(self.plan.phases) and not self._stopped:
            yield from self._phase(self.plan.phases[self.at.phase])
        self.model.load_state_dict(self.selection.best)
        if self.plan.phases and (self.plan.soup or self.plan.wise_ft):
            yield from self._finish()
        if self.plan.phases:
            self.selection.close(self.at)
        self.model.eval()

    def _finish(self) -> Iterator[CacheFill]:
        """The plan's post-steps, through what the frozen layers gave if nothing below the cut ever trained."""
        boundary = self.frozen.of(len(self.plan.phases) - 1)
        if boundary is not None and boundary.cut <= self.plan.untouched:
            self.frozen.begin()
            yield from self.frozen.look(boundary.cut, VALIDATION)
            self.feed = Kept(self.batches, self.frozen, boundary, self.training)
        self.model.load_state_dict(self._ended())
        self.feed = self.fresh

    def _ended(self) -> Weights:
        """The weights after the post-steps; those that others will choose on are recorded."""
        if self.role.keeps == "best":
            return self.selection.finish(self.at, self.validate)
        trained, start = self.selection.settle(self.role.alpha), self.selection.start
        if not self.role.records:
            return trained
        if start is None:
            self.held_out.ended = self.scores(trained)[0].float()
            return trained
        blends = [interpolate(start, trained, alpha) for alpha in ALPHAS]
        self.held_out.blended = [self.scores(weights)[0].float() for weights in blends]
        return wise_ft(start, trained, self.validate)[0]

    @property
    def _stopped(self) -> bool:
        return self.role.stop is not None and self.at.epochs >= self.role.stop

    def _phase(self, phase: Phase) -> Iterator[Event]:
        self.update.begin(phase)
        together = self.model if self.machine.shard else self.team.wrap(self.model)
        self.gradients.forward = self.machine.forward_of(together, self.batches.packed.lengths is not None)
        self.feed, self._rehearsed = self._feed(), not self.machine.compile_model
        patience = self.patience or phase.epochs + 1
        while self.at.epoch < phase.epochs and self.at.stale < patience and not self._stopped:
            yield from self._epoch(phase)
        skipped, self.at.skipped = self.at.skipped, 0  # before it is said: a state saved then says it no more
        if skipped:
            yield Notice(f"{phase.name}: {skipped} steps were skipped, because their gradients did not fit into fp16")
        self.feed = self.fresh
        self.model.load_state_dict(self.selection.best)
        self.average.begin(self.selection.best)
        self.at.next_phase()

    def _feed(self) -> Feed:
        self.frozen.begin()
        boundary = self.frozen.of(self.at.phase)
        return self.fresh if boundary is None else Kept(self.batches, self.frozen, boundary, self.training)

    def _epoch(self, phase: Phase) -> Iterator[Event]:
        begun = time.perf_counter() - self.at.seconds
        yield from self.feed.look(self.at.epochs)
        self._train_mode(phase)
        self._rehearse()
        place = (self.at.phase, self.at.epoch)
        order = self.sampler.order(*place)
        inputs = self.feed.training(order, self.at.batch, place, self.at.epochs)
        for rows, x in zip(order[self.at.batch :], inputs, strict=True):
            yield from self._step(phase, x, rows, len(order))
            self.at.seconds = time.perf_counter() - begun
            done = self.at.epoch * len(order) + self.at.batch
            yield Step(phase.name, self.at.epochs + 1, done, phase.epochs * len(order))
        yield self._close_epoch(phase)

    def _rehearse(self) -> None:
        """Let a phase's kernels for batches of all lengths be made for the longest, wherever the training goes on."""
        rows = None if self._rehearsed else self.sampler.longest()
        if rows is None:
            return
        for x in self.feed.training([rows], 0, (self.at.phase, 0), self.at.epochs):
            x, targets = self.sampler.mixed(x, rows, torch_generator(0))
            self.gradients.accumulate(x, targets, self.sampler.marks_of(rows), self.feed.start, self.at.pieces)
        self.update.zero_grad()
        self._rehearsed = True

    def _train_mode(self, phase: Phase) -> None:
        self.model.train()
        self.model.head.train(phase.rates[HEAD] is not None)
        if self._keeps_norms:
            for module in self.model.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()

    @property
    def _keeps_norms(self) -> bool:
        return self.training.norm_statistics == "source" and self.plan.start == "head"

    def _step(self, phase: Phase, x: Tensor, rows: RowNumbers, per_epoch: int) -> Iterator[Notice]:
        seed = (self.training.seed, self.at.phase, self.at.epoch, self.at.batch)
        seed_device(self.machine.device, "dropout", *seed, *([self.team.rank] if self.team.rank else []))
        x, targets = self.sampler.mixed(x, rows, torch_generator(self.training.seed, "mix", *seed[1:]))
        total = phase.epochs * per_epoch
        done = self.at.epoch * per_epoch + self.at.batch
        loss = yield from self.gradients.of(x, targets, self.sampler.marks_of(rows), self.feed.start, self.at)
        rate = factor(done, total, round(self.training.warmup * total), self.training.schedule)
        if self.update.step(phase, rate):
            self.average.step(self.model)
        else:
            self.at.skipped += 1
        self._loss += self.team.sum(loss)
        self.at.batch += 1
        self.at.steps += 1
        if self.machine.device.type == "cpu" or self.at.steps % CHECK_EVERY == 0:
            self._finite(phase)

    def _finite(self, phase: Phase) -> None:
        """Bring the loss to the host, and refuse to go on if it is not a number."""
        self.at.loss_sum += float(self._loss)
        self._loss.zero_()
        if not math.isfinite(self.at.loss_sum):
            highest = max(rate for rate in phase.rates.values() if rate is not None)
            raise ConfigError(
                f"the training loss became {self.at.loss_sum} in phase {phase.name!r} by step {self.at.steps} with a "
                f"peak learning rate of {highest:g}: lower `lr` of this strategy (a tenth is a good try), or set "
                "training.clip_norm" + (", or runtime.precision to fp32" if self.machine.precision == "fp16" else "")
            )

    def _close_epoch(self, phase: Phase) -> Epoch:
        self._finite(phase)
        average = self.average.weights
        kept, scores = self.model.state_dict() if average is None else average, self._judge(average)
        self.at.epoch += 1
        self.at.epochs += 1
        self.at.stale += bool(scores) and self.at.epoch > self.training.grace(phase.epochs)
        self.selection.take(self.at, scores, kept)
        seconds, loss = self.at.seconds, self.at.loss_sum / self.sampler.marks
        self.at.batch, self.at.loss_sum, self.at.seconds = 0, 0.0, 0.0
        rates = [rate for rate in phase.rates.values() if rate is not None]
        speed = len(self.rows) / seconds if seconds else 0.0
        return Epoch(self.at.steps, phase.name, self.at.epochs, loss, scores, min(rates), max(rates), seconds, speed)

    def _judge(self, weights: dict[str, Tensor] | None = None) -> Scores:
        """As `validate`, recorded where the role says so; nothing where no row validates."""
        if not len(self.batches.packed.rows("validation")):
            return {}
        logits, labels = self.scores(weights)
        if self.role.records:
            self.held_out.epochs.append(logits.float())
        return self.judge(logits, labels)

    def validate(self, weights: dict[str, Tensor] | None = None) -> Scores:
        """The task's figures of the validation split, of the model or of other `weights`."""
        return self.judge(*self.scores(weights))

    def scores(self, weights: dict[str, Tensor] | None = None) -> tuple[Tensor, Tensor]:
        """Logits (M, C) in double precision and labels (M,) of the validation split's marks, on the CPU."""
        own = copy.deepcopy(self.model.state_dict()) if weights is not None else None
        if weights is not None:
            self.model.load_state_dict(weights)
        self.model.eval()
        logits, labels = self.scorer.scores(self.model, self.feed)
        if own is not None:
            self.model.load_state_dict(own)
        return logits, labels

    def state(self) -> dict[str, Any]:
        """Everything that `restore` needs, as whole tensors and plain values.

        Where the processes share the weights out (`machine.shard`), every one of them must call it.
        """
        at = asdict(self.at)
        state = {
            "at": {**at, "loss_sum": at["loss_sum"] + float(self._loss)},
            "model": self.model.state_dict(),
            "selection": self.selection.state(),
            "average": self.average.state(),
            "update": self.update.state(),
            "frozen": self.frozen.choice.state(),
            "held_out": self.held_out.state(),
        }
        return whole(state) if self.machine.shard else state

    def trained(self) -> dict[str, Tensor]:
        """The model's state in whole tensors; every process must call it."""
        state = self.model.state_dict()
        return whole(state) if self.machine.shard else state

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from `state()` of a trainer with the same plan, data and recipe."""
        self.frozen.choice.restore(state["frozen"])
        self.held_out = HeldOut.restore(state["held_out"])
        self.at = Position(**{each.name: state["at"][each.name] for each in fields(Position)})
        like = self.model.state_dict()
        self.model.load_state_dict(parts(state["model"], like))
        self.update.restore(state["update"])
        self.selection.restore(state["selection"], like)
        self.average.restore(state["average"], like)
