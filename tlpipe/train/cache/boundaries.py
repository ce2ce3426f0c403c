"""Where the phases of a plan are cut, and how the activations there are kept: what is worth its bytes."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tlpipe.strategies.plan import Phase, Plan
from tlpipe.tasks.base import Task
from tlpipe.train.cache.cache_folder import DiskSpace
from tlpipe.train.cache.stored_activations import Layout, Storage
from tlpipe.train.hardware.batch_fitting import Fitting
from tlpipe.train.hardware.device import Machine
from tlpipe.train.inputs.batches import Batches
from tlpipe.train.inputs.views import views_of
from tlpipe.train.model import Classifier
from tlpipe.train.spec import Training

CHUNK = 64
"""Samples that go through the frozen layers together on their first look."""
TOLERANCE = 0.01
"""Largest change of a sample's probability that a storage may cause."""
STORAGES: tuple[Storage, ...] = ("half", "int8")
"""What is tried, in this order, when `training.cache.storage` is auto."""


@dataclass(frozen=True)
class Boundary:
    """Where phases are cut, and how the activations there are kept."""

    cut: int
    views: int
    """Views of each training sample; 1 without augmentation."""
    layout: Layout
    sample: int
    """Bytes of one sample."""
    samples: int
    """Of all views of the training split and of the validation split."""
    change: float
    """Largest change of a probability over the samples that were checked."""

    @property
    def bytes(self) -> int:
        """Of all samples."""
        return self.sample * self.samples


def prefix(cuts: Sequence[int], phase: Phase, groups: Sequence[str]) -> int:
    """The last cut below which nothing trains in `phase`; 0 when the lowest group trains."""
    frozen = 0
    while frozen < len(groups) and phase.rates[groups[frozen]] is None:
        frozen += 1
    return max(cut for cut in cuts if cut <= frozen)


class Choice:
    """The boundaries of one training, chosen before it begins.

    What the disk has room for decides on them too, so they belong to the recovery state: `state` and `restore`.
    """

    def __init__(
        self,
        model: Classifier,
        plan: Plan,
        task: Task,
        training: Training,
        batches: Batches,
        machine: Machine,
        room: DiskSpace,
    ) -> None:
        self.model, self.training, self.batches, self.machine = model, training, batches, machine
        self.task, self.room = task, room
        self.notes: list[str] = []
        """What was given up, a line each."""
        self._wanted = [prefix(model.encoder.cuts, phase, plan.groups) for phase in plan.phases]
        self.boundaries = self._choose(plan, self._wanted) if training.cache.views else {}
        """By cut."""

    @property
    def cuts(self) -> list[int]:
        """Where each phase is cut; 0 = nowhere."""
        return [max((cut for cut in self.boundaries if cut <= own), default=0) for own in self._wanted]

    @property
    def budget(self) -> int:
        """Bytes that all kept activations may take by the configuration."""
        return int(self.training.cache.gigabytes * 1e9)

    def state(self) -> dict[str, Any]:
        """What was chosen, as plain values."""
        return {"boundaries": [asdict(each) for each in self.boundaries.values()], "notes": self.notes}

    def restore(self, state: dict[str, Any]) -> None:
        """Take what was chosen before, whatever the disk has room for now."""
        chosen = [Boundary(**{**each, "layout": Layout.read(each["layout"])}) for each in state["boundaries"]]
        self.boundaries, self.notes = {each.cut: each for each in chosen}, list(state["notes"])

    def _choose(self, plan: Plan, wanted: list[int]) -> dict[int, Boundary]:
        """The boundaries that are worth their bytes: used more often than they have views, and within the limit."""
        cuts = sorted({cut for cut in wanted if cut})
        if not cuts:
            return {}
        candidates = self._candidates(cuts)
        while candidates:
            used = _epochs(plan, wanted, list(candidates))
            trainings = len(self.batches.packed.parts) + self.batches.packed.refit
            idle = [cut for cut in candidates if trainings * used[cut] <= self._wanted_views(used[cut])]
            if idle and not self.training.augment.still:
                del candidates[max(idle)]
                continue
            sized = {cut: self._sized(boundaries[0], used[cut]) for cut, boundaries in candidates.items()}
            needed = sum(boundary.bytes for boundary in sized.values())
            if needed <= min(self.budget, self.room.bytes):
                return sized
            largest = max(sized, key=lambda cut: sized[cut].bytes)
            smaller = candidates[largest][1:]
            if not smaller or needed <= self.budget:
                instead = "a byte a value is kept" if smaller else "they are computed anew each epoch"
                self._note(largest, f"{self._too_large(sized[largest], needed)}; {instead}")
            candidates[largest] = smaller
            if not smaller:
                del candidates[largest]
        return {}

    def _too_large(self, boundary: Boundary, needed: int) -> str:
        size = f"{boundary.bytes / 1e9:.2g} GB ({boundary.layout.storage})"
        others = f", with what other phases keep {needed / 1e9:.2g} GB" if needed > boundary.bytes else ""
        views = f"its activations in {boundary.views} view{'s' if boundary.views > 1 else ''} take {size}{others}"
        if needed > self.budget:
            return f"{views}, training.cache.gigabytes allows {self.training.cache.gigabytes:g}"
        return f"{views}, the disk has room for {self.room.describe()}"

    def _note(self, cut: int, text: str) -> None:
        self.notes.append(f"frozen up to {self.model.encoder.groups[cut - 1]}: {text}")

    def _wanted_views(self, epochs: int) -> int:
        return 1 if self.training.augment.still else min(self.training.cache.views, epochs)

    def _sized(self, boundary: Boundary, epochs: int) -> Boundary:
        views = self._wanted_views(epochs)
        train, validation = (high - low for low, high in self.batches.packed.cached.values())
        samples = views * train + validation
        return replace(boundary, views=views, samples=samples)

    def _candidates(self, cuts: list[int]) -> dict[int, list[Boundary]]:
        """For each cut the storages that keep the model's probabilities, for one sample of one view."""
        first, found = self.batches.packed.cached["validation"][0], dict[int, list[Boundary]]()
        rows = np.arange(first, min(first + CHUNK, self.batches.packed.labelled))
        x = views_of(self.batches.packed.preprocess, self.machine.device).evaluation(self.batches.samples.take(rows))
        pieces = Fitting(self.machine, CHUNK).pieces(partial(self._trials, cuts), x)
        for cut in cuts:
            alike = zip(*(piece[cut] for piece in pieces), strict=True)
            tried = [max(each, key=lambda boundary: boundary.change) for each in alike]
            kept = [boundary for boundary in tried if boundary.change <= TOLERANCE]
            if kept:
                found[cut] = kept
            elif tried:
                worst = min(boundary.change for boundary in tried)
                self._note(cut, f"storing them changes a probability by {worst:.2g}; each epoch computes them anew")
            else:
                self._note(cut, "cutmix needs a map to paste rectangles into; each epoch computes it anew from pixels")
        return found

    @torch.no_grad()
    def _trials(self, cuts: list[int], x: Tensor) -> dict[int, list[Boundary]]:
        """At each cut what every storage changes for the inputs `x` (B, ...); no storage where cutmix lacks a map."""
        encoder, cutmix, base = self.model.eval().encoder, self.training.augment.cutmix, 0
        found: dict[int, list[Boundary]] = {}
        for cut in cuts:
            with self.machine.autocast():
                x = encoder.run(x, base, cut)
            is_map, base = x.ndim == 4 and encoder.channel_axis == 1, cut
            storages = self._storages(x) if is_map or not cutmix else ()
            found[cut] = [self._try(x, cut, storage) for storage in storages]
        return found

    def _storages(self, x: Tensor) -> tuple[Storage, ...]:
        asked = self.training.cache.storage
        if x.ndim == 2 and asked != "exact":
            return ("half",)  # a range for each value would take more than the value
        return STORAGES if asked == "auto" else (asked,)

    def _try(self, x: Tensor, cut: int, storage: Storage) -> Boundary:
        layout = Layout.of(x, storage, self.model.encoder.channel_axis)
        kept = layout.again(layout.encode(x), x.device)
        before, after = self._probabilities(x, cut), self._probabilities(kept, cut)
        change = float((before - after).abs().max().nan_to_num(1.0, 1.0, 1.0))
        return Boundary(cut, 1, layout, layout.bytes_per_sample(x), 1, change)

    def _probabilities(self, x: Tensor, cut: int) -> Tensor:
        with self.machine.autocast():
            logits: Tensor = self.model(x, cut)
        return self.task.probabilities(logits.cpu().double())


def _epochs(plan: Plan, wanted: list[int], kept: list[int]) -> Counter[int]:
    """Epochs for which each kept boundary is read, if every phase is cut at the highest one below its own."""
    used: Counter[int] = Counter()
    for phase, own in zip(plan.phases, wanted, strict=True):
        used[max((cut for cut in kept if cut <= own), default=0)] += phase.epochs
    return used
