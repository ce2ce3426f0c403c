"""A frozen layer costs nothing after the first look at it: what the frozen prefix of each phase gives, kept on disk.

A phase's prefix is the longest run of groups from the input that do not train in it and at whose end the encoder can be
cut. Its activations are computed once a view of the data, in a fixed order and in fixed batches so that the bits do
not depend on who asked first, and are found again by a key over everything that decides them: weights, buffers,
preprocessing, data, augmentation, precision and code. Source of the idea for one language model: AutoFreeze
(arXiv 2102.01386).
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tlpipe.strategies.plan import Plan
from tlpipe.tasks.base import Task
from tlpipe.train.cache.boundaries import CHUNK, Boundary, Choice
from tlpipe.train.cache.cache_folder import CacheFolder
from tlpipe.train.cache.stored_activations import Encoded, StoredActivations
from tlpipe.train.cache.writers import writers
from tlpipe.train.hardware.batch_fitting import Fitting
from tlpipe.train.hardware.device import Machine
from tlpipe.train.hardware.fsdp import whole
from tlpipe.train.inputs.augmentation import draw
from tlpipe.train.inputs.batches import Batches, RowNumbers, chunks
from tlpipe.train.inputs.views import views_of
from tlpipe.train.model import Classifier
from tlpipe.train.spec import Training
from tlpipe.train.trainer.randomness import torch_generator
from tlpipe.train.trainer.resume import hash_code

ROOT = Path(".tlpipe/cache")
VALIDATION = -1
"""In place of a view's number: the evaluation view of the validation split."""
RESERVE, STATES = 10**9, 12
"""Left free on the disk: so many bytes, and those of so many copies of the weights. A recovery state may hold six (the
model, its best and its average, two moments, what is mixed at the end), and is there twice while it is replaced."""


@dataclass(frozen=True)
class CacheFill:
    """One batch went through the frozen layers for the first time."""

    done: int
    total: int


class ActivationCache:
    """The boundaries of one training, and the activations at each of them."""

    def __init__(
        self,
        model: Classifier,
        plan: Plan,
        task: Task,
        training: Training,
        batches: Batches,
        machine: Machine,
        root: Path = ROOT,
    ) -> None:
        self.model, self.training, self.batches, self.machine = model, training, batches, machine
        self.team, self.fitting = machine.team, Fitting(machine, CHUNK)
        self.views = views_of(batches.packed.preprocess, machine.device)
        self.cache_folder = CacheFolder(root)
        self._code = hash_code("finetune")
        self._digests: dict[int, str] = {}
        self._open: dict[Path, StoredActivations] = {}
        """What the phase reads, by folder: on a GPU it is copied there once, not once an epoch."""
        # the team's smallest room, and the first one's choice: rounding must not make the processes differ
        room = min(self.team.gather(self.cache_folder.room(self._reserve)), key=lambda each: each.bytes)
        self.choice = Choice(model, plan, task, training, batches, machine, room)
        self.choice.restore(self.team.gather(self.choice.state())[0])

    @property
    def boundaries(self) -> dict[int, Boundary]:
        """By cut."""
        return self.choice.boundaries

    def of(self, phase: int) -> Boundary | None:
        """Where phase number `phase` is cut; None = nothing below it is frozen, or it was not worth it."""
        return self.boundaries.get(self.choice.cuts[phase])

    def describe(self) -> list[str]:
        """A line a boundary for people, and one for each that was given up."""
        groups = self.model.encoder.groups
        kept = [
            f"frozen up to {groups[cut - 1]}: computed once for {each.views} view{'s' if each.views > 1 else ''} and "
            f"kept ({each.layout.storage}, {each.bytes / 1e6:,.1f} MB; no checked probability moves by more than "
            f"{each.change:.1g})"
            for cut, each in self.boundaries.items()
        ]
        return kept + self.choice.notes

    @property
    def looks(self) -> int:
        """Batches of first looks if nothing is stored yet."""
        packed, lowest = self.batches.packed, min(self.boundaries, default=0)
        parts = {split: -(-(high - low) // CHUNK) for split, (low, high) in packed.cached.items()}
        return self.boundaries[lowest].views * parts["train"] + parts["validation"] if lowest else 0

    def begin(self) -> None:
        """A phase begins: the weights below its boundary may have changed since the last one."""
        self._digests.clear()
        self._open.clear()

    def stored(self, cut: int, view: int) -> StoredActivations:
        """The activations of one view at a boundary, by row of `Packed.cached`. They must have been looked at."""
        folder = self.cache_folder.folder(self._key(cut, view))
        if folder not in self._open:
            held = sum(each.held for each in self._open.values())
            self._open[folder] = StoredActivations(folder, self.machine.device, held)
        self._open[folder].touch()
        return self._open[folder]

    def look(self, cut: int, view: int) -> Iterator[CacheFill]:
        """Compute what is not there yet of one view at a boundary, and at the boundaries below it, on the way up."""
        chain = [each for each in sorted(self.boundaries) if each <= cut]
        for each in self.boundaries if self.machine.shard else ():
            self._digest(each)  # by all processes, which put the weights together for it
        missing = [each for each in chain if not all(self.team.gather(self.cache_folder.has(self._key(each, view))))]
        if not missing:
            return
        rows = self._rows(view)
        base = max((each for each in chain if each < missing[0]), default=0)
        parts = self.team.evened(chunks(np.arange(len(rows)), CHUNK), self.machine.shard)
        inputs = iter(self._inputs(base, view, rows, self.team.turns(parts)))
        with writers(
            self.cache_folder, self.team, len(rows) * sum(self.boundaries[cut].sample for cut in missing)
        ) as writing:
            folders = {cut: (self._key(cut, view), self.boundaries[cut].layout) for cut in missing}
            writing.begin(self._make_room, folders, len(rows))
            for done in range(0, len(parts), self.team.size):
                mine = next(inputs, None)
                writing.write(self.team.gather([] if mine is None else self._climbed(*mine, base, missing)))
                yield from (
                    CacheFill(each + 1, len(parts)) for each in range(done, min(done + self.team.size, len(parts)))
                )
            writing.close()

    def _rows(self, view: int) -> RowNumbers:
        """The rows whose activations are kept: of all folds, which share them."""
        return np.arange(*self.batches.packed.cached["validation" if view == VALIDATION else "train"], dtype=np.int64)

    def _make_room(self, wanted: int) -> None:
        """Within the configuration's limit, and so that the reserve stays free where that is possible."""
        limit = min(self.choice.budget, self.cache_folder.room(self._reserve).bytes)
        self.cache_folder.make_room(wanted, limit, frozenset(self._all_keys()))

    @property
    def _reserve(self) -> int:
        """Bytes of the disk that are not for activations."""
        weights: Iterator[Tensor] = iter(self.model.state_dict().values())
        return RESERVE + STATES * sum(each.numel() * each.element_size() for each in weights)

    def _climbed(self, start: int, x: Tensor, base: int, cuts: list[int]) -> list[tuple[int, int, Encoded]]:
        """(cut, first row, what is stored) at each of `cuts` for the samples from row `start`, given at `base`."""
        found = []
        for piece in self.fitting.pieces(lambda part: self._climb(part, base, cuts), x):
            found += [(cut, start, encoded) for cut, encoded in piece]
            start += len(piece[0][1][0])
        return found

    @torch.no_grad()
    def _climb(self, x: Tensor, base: int, cuts: list[int]) -> list[tuple[int, Encoded]]:
        encoder, climbed = self.model.encoder.eval(), []
        for cut in cuts:
            with self.machine.autocast():
                x = encoder.run(x, base, cut)
            layout = self.boundaries[cut].layout
            encoded = layout.encode(x)
            climbed.append((cut, encoded))
            x, base = layout.again(encoded, x.device), cut
        return climbed

    def _inputs(
        self, base: int, view: int, rows: RowNumbers, parts: Sequence[RowNumbers]
    ) -> Iterator[tuple[int, Tensor]]:
        if base:
            for part, x in zip(parts, self.stored(base, view).stream(parts), strict=True):
                yield int(part[0]), x
            return
        draws = draw(len(rows), torch_generator(self.training.seed, "view", view))
        for part, packed in zip(parts, self.batches.samples.stream([rows[part] for part in parts]), strict=True):
            start = int(part[0])
            if view == VALIDATION:
                yield start, self.views.evaluation(packed)
            else:
                yield start, self.views.training(packed, self.training.augment, draws[start : start + len(part)])

    def _all_keys(self) -> Iterator[str]:
        for cut, boundary in self.boundaries.items():
            for view in (VALIDATION, *range(boundary.views)):
                yield self._key(cut, view)

    def _key(self, cut: int, view: int) -> str:
        """Everything that decides the activations; the boundaries below are in it, because they round on the way."""
        below = [(each, self.boundaries[each].layout.storage) for each in sorted(self.boundaries) if each <= cut]
        packed = self.batches.packed
        drawn = None if view == VALIDATION else _drawn(self.training)
        parts = [
            self._digest(cut), below, packed.fingerprint, packed.cached, packed.preprocess.model_dump(),
            drawn, view, CHUNK,
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
                        digest.update(
                            whole(value.detach()).cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes()
                        )
            self._digests[cut] = digest.hexdigest()
        return self._digests[cut]


def _drawn(training: Training) -> dict[str, object]:
    """What decides a training view: the augmentation but for mixing, which comes later, and the seed if it draws."""
    seed = None if training.augment.still else training.seed
    return {"seed": seed, **training.augment.model_dump(exclude={"mixup", "cutmix"})}
