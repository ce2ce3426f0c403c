"""A frozen layer costs nothing after the first look at it: what the frozen prefix of each phase gives, kept on disk.

A phase's prefix is the longest run of groups from the input that do not train in it and at whose end the encoder can be
cut. Its activations are computed once a view of the data, in a fixed order and in fixed batches so that the bits do
not depend on who asked first, and are found again by a key over everything that decides them: weights, buffers,
preprocessing, data, augmentation, precision and code. Source of the idea for one language model: AutoFreeze
(arXiv 2102.01386).
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tlpipe.data.packed import SPLITS
from tlpipe.strategies.plan import Phase, Plan
from tlpipe.train.augment import Views, draw
from tlpipe.train.batches import Batches, RowNumbers, chunks
from tlpipe.train.checkpoint import hash_code
from tlpipe.train.device import Machine
from tlpipe.train.model import Classifier
from tlpipe.train.randomness import torch_generator
from tlpipe.train.spec import Augment, Training
from tlpipe.train.stored import Layout, Shelf, Storage, Stored, Writer

ROOT = Path(".tlpipe/cache")
CHUNK = 64
"""Samples that go through the frozen layers together on their first look."""
TOLERANCE = 0.01
"""Largest change of a validation sample's probability that a storage may cause."""
STORAGES: tuple[Storage, ...] = ("half", "int8")
"""What is tried, in this order, when `training.cache.storage` is auto."""
VALIDATION = -1
"""In place of a view's number: the evaluation view of the validation split."""


@dataclass(frozen=True)
class Look:
    """One batch went through the frozen layers for the first time."""

    done: int
    total: int


@dataclass(frozen=True)
class Boundary:
    """Where phases are cut, and how the activations there are kept."""

    cut: int
    views: int
    """Views of each training sample; 1 without augmentation."""
    layout: Layout
    bytes: int
    """Of all views of the training split and of the validation split."""
    change: float
    """Largest change of a probability over the samples that were checked."""


def prefix(cuts: Sequence[int], phase: Phase, groups: Sequence[str]) -> int:
    """The last cut below which nothing trains in `phase`; 0 when the lowest group trains."""
    frozen = 0
    while frozen < len(groups) and phase.rates[groups[frozen]] is None:
        frozen += 1
    return max(cut for cut in cuts if cut <= frozen)


class Frozen:
    """The boundaries of one training, and the activations at each of them."""

    def __init__(
        self, model: Classifier, plan: Plan, training: Training, batches: Batches, machine: Machine, root: Path = ROOT
    ) -> None:
        self.model, self.training, self.batches, self.machine = model, training, batches, machine
        self.views = Views(batches.packed.preprocess, machine.device)
        self.shelf = Shelf(root)
        self.notes: list[str] = []
        """What people should know of the choice, a line each."""
        self._code = hash_code()
        self._digests: dict[int, str] = {}
        wanted = [prefix(model.encoder.cuts, phase, plan.groups) for phase in plan.phases]
        self.boundaries = self._choose(plan, wanted) if training.cache.views else {}
        self._cuts = [max((cut for cut in self.boundaries if cut <= own), default=0) for own in wanted]

    def of(self, phase: int) -> Boundary | None:
        """Where phase number `phase` is cut; None = nothing below it is frozen, or it was not worth it."""
        return self.boundaries.get(self._cuts[phase])

    @property
    def looks(self) -> int:
        """Batches of first looks if nothing is stored yet."""
        packed, lowest = self.batches.packed, min(self.boundaries, default=0)
        parts = {split: -(-len(packed.rows(split)) // CHUNK) for split in SPLITS[:2]}
        return self.boundaries[lowest].views * parts["train"] + parts["validation"] if lowest else 0

    def begin(self) -> None:
        """A phase begins: the weights below its boundary may have changed since the last one."""
        self._digests.clear()

    def stored(self, cut: int, view: int) -> Stored:
        """The activations of one view at a boundary, by row of their split. They must have been looked at."""
        return Stored(self.shelf.folder(self._key(cut, view)), self.machine.device)

    def look(self, cut: int, view: int) -> Iterator[Look]:
        """Compute what is not there yet of one view at a boundary, and at the boundaries below it, on the way up."""
        chain = [each for each in sorted(self.boundaries) if each <= cut]
        missing = [each for each in chain if not self.shelf.has(self._key(each, view))]
        if not missing:
            return
        rows = self.batches.packed.rows("validation" if view == VALIDATION else "train")
        keys = {each: self._key(each, view) for each in missing}
        bytes_each = [self.boundaries[each].bytes // max(1, self.boundaries[each].views) for each in missing]
        self.shelf.make_room(sum(bytes_each), self._limit, frozenset(self._all_keys()))
        writers = {
            each: Writer(self.shelf.folder(keys[each]), len(rows), self.boundaries[each].layout) for each in missing
        }
        base = max((each for each in chain if each < missing[0]), default=0)
        parts = chunks(np.arange(len(rows)), CHUNK)
        for index, (part, x) in enumerate(zip(parts, self._inputs(base, view, rows, parts), strict=True)):
            self._climb(x, base, int(part[0]), writers)
            yield Look(index + 1, len(parts))
        for writer in writers.values():
            writer.close()

    @torch.no_grad()
    def _climb(self, x: Tensor, base: int, start: int, writers: dict[int, Writer]) -> None:
        encoder = self.model.encoder.eval()
        for cut, writer in writers.items():
            with self.machine.autocast():
                x = encoder.run(x, base, cut)
            x, base = writer.write(start, x), cut

    def _inputs(self, base: int, view: int, rows: RowNumbers, parts: Sequence[RowNumbers]) -> Iterator[Tensor]:
        if base:
            yield from self.stored(base, view).stream(parts)
            return
        draws = draw(len(rows), torch_generator("view", view))
        for part, packed in zip(parts, self.batches.images.stream([rows[part] for part in parts]), strict=True):
            if view == VALIDATION:
                yield self.views.evaluation(packed)
            else:
                yield self.views.training(packed, self.training.augment, draws[int(part[0]) : int(part[-1]) + 1])

    @property
    def _limit(self) -> int:
        return int(self.training.cache.gigabytes * 1e9)

    def _all_keys(self) -> Iterator[str]:
        for cut, boundary in self.boundaries.items():
            for view in (VALIDATION, *range(boundary.views)):
                yield self._key(cut, view)

    def _key(self, cut: int, view: int) -> str:
        """Everything that decides the activations; the boundaries below are in it, because they round on the way."""
        below = [(each, self.boundaries[each].layout.storage) for each in sorted(self.boundaries) if each <= cut]
        packed = self.batches.packed
        parts = [
            self._digest(cut), below, packed.fingerprint, packed.preprocess.model_dump(),
            _geometry(self.training.augment) if view != VALIDATION else None, view, CHUNK,
            self.machine.device.type, self.machine.precision, torch.get_num_threads(), torch.__version__, self._code,
        ]  # fmt: skip
        return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:32]

    def _digest(self, cut: int) -> str:
        """Of the weights, buffers and structure below `cut`."""
        if cut not in self._digests:
            encoder, digest = self.model.encoder, hashlib.sha256(repr(self.model.encoder).encode())
            for group in encoder.groups[:cut]:
                for name, module in encoder.members(group):
                    for local, value in (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)):
                        digest.update(f"{name}.{local}".encode())
                        digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
            self._digests[cut] = digest.hexdigest()
        return self._digests[cut]

    def _choose(self, plan: Plan, wanted: list[int]) -> dict[int, Boundary]:
        """The boundaries that are worth their bytes: used more often than they have views, and within the limit."""
        cuts = sorted({cut for cut in wanted if cut})
        if not cuts:
            return {}
        candidates = self._candidates(cuts)
        while candidates:
            used = _epochs(plan, wanted, list(candidates))
            idle = [cut for cut in candidates if used[cut] <= self._wanted_views(used[cut])]
            if idle and not self.training.augment.still:
                del candidates[max(idle)]
                continue
            sized = {cut: self._sized(boundaries[0], used[cut]) for cut, boundaries in candidates.items()}
            if sum(boundary.bytes for boundary in sized.values()) <= self._limit:
                return sized
            largest = max(sized, key=lambda cut: sized[cut].bytes)
            if len(candidates[largest]) > 1:
                candidates[largest] = candidates[largest][1:]
                continue
            self._note(largest, self._too_large(sized[largest]))
            del candidates[largest]
        return {}

    def _too_large(self, boundary: Boundary) -> str:
        size, storage = boundary.bytes / 1e9, boundary.layout.storage
        return (
            f"{boundary.views} views of its activations take {size:.2g} GB ({storage}), training.cache.gigabytes "
            f"allows {self.training.cache.gigabytes:g}; they are computed anew each epoch"
        )

    def _note(self, cut: int, text: str) -> None:
        self.notes.append(f"frozen up to {self.model.encoder.groups[cut - 1]}: {text}")

    def _wanted_views(self, epochs: int) -> int:
        return 1 if self.training.augment.still else min(self.training.cache.views, epochs)

    def _sized(self, boundary: Boundary, epochs: int) -> Boundary:
        views, packed = self._wanted_views(epochs), self.batches.packed
        samples = views * len(packed.rows("train")) + len(packed.rows("validation"))
        return replace(boundary, views=views, bytes=boundary.bytes * samples)

    @torch.no_grad()
    def _candidates(self, cuts: list[int]) -> dict[int, list[Boundary]]:
        """For each cut the storages that keep the model's probabilities; `bytes` is that of one sample here."""
        encoder, rows = self.model.eval().encoder, self.batches.packed.rows("validation")[:CHUNK]
        cutmix, base = self.training.augment.cutmix, 0
        found: dict[int, list[Boundary]] = {}
        x = self.views.evaluation(self.batches.images.take(rows))
        for cut in cuts:
            with self.machine.autocast():
                x = encoder.run(x, base, cut)
            base = cut
            if cutmix and not (x.ndim == 4 and encoder.channel_axis == 1):
                self._note(cut, "cutmix needs a map to paste rectangles into; each epoch computes it anew from pixels")
                continue
            tried = [self._try(x, cut, storage) for storage in self._storages(x)]
            found[cut] = [boundary for boundary in tried if boundary.change <= TOLERANCE]
            if not found[cut]:
                worst = min(boundary.change for boundary in tried)
                self._note(cut, f"storing them changes a probability by {worst:.2g}; each epoch computes them anew")
                del found[cut]
        return found

    def _storages(self, x: Tensor) -> tuple[Storage, ...]:
        asked = self.training.cache.storage
        if x.ndim == 2 and asked != "exact":
            return ("half",)  # a range for each value would take more than the value
        return STORAGES if asked == "auto" else (asked,)

    def _try(self, x: Tensor, cut: int, storage: Storage) -> Boundary:
        layout = Layout.of(x, storage, self.model.encoder.channel_axis)
        values, ranges = layout.encode(x)
        limits = None if ranges is None else torch.from_numpy(ranges).to(x.device)
        kept = layout.decode(torch.from_numpy(values).to(x.device), limits)
        before, after = self._probabilities(x, cut), self._probabilities(kept, cut)
        change = float((before - after).abs().max().nan_to_num(1.0, 1.0, 1.0))
        return Boundary(cut, 1, layout, layout.bytes_per_sample(x), change)

    def _probabilities(self, x: Tensor, cut: int) -> Tensor:
        with self.machine.autocast():
            logits: Tensor = self.model(x, cut)
        return logits.cpu().double().softmax(1)


def _epochs(plan: Plan, wanted: list[int], kept: list[int]) -> Counter[int]:
    """Epochs for which each kept boundary is read, if every phase is cut at the highest one below its own."""
    used: Counter[int] = Counter()
    for phase, own in zip(plan.phases, wanted, strict=True):
        used[max((cut for cut in kept if cut <= own), default=0)] += phase.epochs
    return used


def _geometry(augment: Augment) -> dict[str, object]:
    """The settings that change a view before the boundary; mixing comes after it."""
    return augment.model_dump(exclude={"mixup", "cutmix"})
