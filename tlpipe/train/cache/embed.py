"""One pass of the frozen backbone over the samples that are learnt from, kept at every depth."""

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.lib.format import open_memmap
from numpy.typing import NDArray
from torch import Tensor

from tlpipe.backbones.base import Encoder
from tlpipe.data.packed import Packed
from tlpipe.train.cache.feature_cache import NONE, FeatureCache, sample_hashes
from tlpipe.train.hardware.batch_fitting import Fitting
from tlpipe.train.hardware.device import Machine
from tlpipe.train.inputs.batches import Batches, RowNumbers, chunks
from tlpipe.train.inputs.views import views_of

ABOUT = "features.json"
COPIED = 1024
"""Rows that are taken from the cache at once."""


@dataclass(frozen=True)
class Features:
    """The folder that `embed` writes: `<group>.npy` float32 (M, D_g), a line for each mark of the packed arrays.

    A mark is a row, or each of its words: see `tlpipe.data.targets`.
    The test split, which comes last there, is left out: whatever reads features chooses by them.
    """

    folder: Path
    groups: tuple[str, ...]
    """Where features were taken, from the input to the top."""

    @classmethod
    def open(cls, folder: Path) -> "Features":
        """An existing folder."""
        return cls(folder, tuple(json.loads((folder / ABOUT).read_text())["groups"]))

    def at(self, group: str) -> NDArray[np.float32]:
        """Memory-mapped features (M, D_g) after `group`."""
        features: NDArray[np.float32] = np.load(self.folder / f"{group}.npy", mmap_mode="r")
        return features


def embed(
    encoder: Encoder,
    packed: Packed,
    machine: Machine,
    folder: Path,
    batch_size: int,
    cache: FeatureCache | None = None,
) -> Iterator[int]:
    """Write the features of the train and validation splits to `folder`; yields the number of samples of each batch.

    Evaluation view. Frozen means frozen: the encoder runs in eval mode, and a sample's features do not depend on its
    batch. Images that are in `cache` are not computed again, and not counted.
    """
    encoder.eval()
    machine.place(encoder)
    fitting, team = Fitting(machine, batch_size), machine.team
    count, images = packed.labelled, isinstance(packed.samples, np.ndarray)
    hashes = sample_hashes(packed.samples[:count]) if images and cache and team.first else None
    known = np.full(count, NONE)
    if images and cache:
        known = team.gather(cache.known(hashes) if hashes is not None else known)[0]
        if not all(team.gather(_reproduces(encoder, packed, fitting, known, cache))):
            known = np.full(count, NONE)
    parts = chunks(np.flatnonzero(known == NONE), batch_size)
    computed = _computed(encoder, packed, fitting, team.turns(parts), images)
    writer = _Writer(folder, packed) if team.first else None
    for _ in range(0, len(parts), team.size):
        for rows, features in team.gather(next(computed, (np.arange(0), {}))):
            if writer and len(rows):
                writer.write(rows, features)
            yield len(rows)
    if writer:
        writer.close(known, cache)
    fitted = team.gather(fitting.size)
    if cache and hashes is not None and set(fitted) == {batch_size}:  # else batches were of several sizes
        cache.replace(folder, hashes)


def _computed(
    encoder: Encoder, packed: Packed, fitting: Fitting, parts: Sequence[RowNumbers], images: bool
) -> Iterator[tuple[RowNumbers, dict[str, NDArray[np.float32]]]]:
    """As `depth_features`; batches of images are filled up with copies, so that all have one size."""
    filled = [np.resize(rows, fitting.size) for rows in parts] if images else parts
    for rows, (_, features) in zip(parts, depth_features(encoder, packed, fitting, filled), strict=True):
        yield rows, {group: values[: len(rows)] if images else values for group, values in features.items()}


def _reproduces(encoder: Encoder, packed: Packed, fitting: Fitting, known: RowNumbers, cache: FeatureCache) -> bool:
    """Whether a batch of the known features comes out to the bit when it is computed again."""
    rows = np.flatnonzero(known != NONE)
    rows = rows[:: max(1, -(-len(rows) // fitting.size))]
    again = _computed(encoder, packed, fitting, [rows] if len(rows) else [], True)
    return all(
        group in cache.arrays and np.array_equal(cache.arrays[group][known[rows]], values)
        for _, features in again
        for group, values in features.items()
    )


class _Writer:
    """Writes the arrays of a folder of features; those that are there belong to DVC's cache and are not written to."""

    def __init__(self, folder: Path, packed: Packed) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        self._folder, self._packed = folder, packed
        self._marks = packed.targets.range(0, packed.labelled)[1]
        self._arrays = dict[str, NDArray[np.float32]]()

    def write(self, rows: RowNumbers, features: Mapping[str, NDArray[np.float32]]) -> None:
        """The features of the marks of some rows, which are consecutive where a row has several."""
        marks: RowNumbers | slice = rows
        if not isinstance(self._packed.samples, np.ndarray):
            marks = slice(*self._packed.targets.range(int(rows[0]), int(rows[-1]) + 1))
        for group, values in features.items():
            if group not in self._arrays:
                shape = (self._marks, values.shape[1])
                self._arrays[group] = open_memmap(self._folder / f"{group}.npy", "w+", np.float32, shape)
            self._arrays[group][marks] = values

    def close(self, known: RowNumbers, cache: FeatureCache | None) -> None:
        """Take the known rows from the cache, and write what there is."""
        rows = np.flatnonzero(known != NONE)
        for part in chunks(rows, COPIED) if cache else ():
            self.write(part, {group: array[known[part]] for group, array in cache.arrays.items()} if cache else {})
        for array in self._arrays.values():
            array.flush()  # type: ignore[attr-defined]
        about = {"groups": list(self._arrays), "dims": [array.shape[1] for array in self._arrays.values()]}
        (self._folder / ABOUT).write_text(json.dumps(about, indent=2) + "\n")


def depth_features(
    encoder: Encoder, packed: Packed, fitting: Fitting, parts: Sequence[RowNumbers]
) -> Iterator[tuple[RowNumbers, dict[str, NDArray[np.float32]]]]:
    """(rows, features (m, D_g) of their marks by group) of each part, evaluation view; the encoder is in eval mode."""
    machine = fitting.machine
    views, batches = views_of(packed.preprocess, machine.device), Batches(packed, machine.device)

    def compute(images: Tensor) -> dict[str, NDArray[np.float32]]:
        with torch.inference_mode(), machine.autocast():
            return {group: each.float().cpu().numpy() for group, each in encoder.depths(views.evaluation(images))}

    for rows, images in zip(parts, batches.samples.stream(parts), strict=True):
        pieces = fitting.pieces(compute, images)
        depths = {group: np.concatenate([each[group] for each in pieces]) for group in pieces[0]}
        yield rows, {group: packed.targets.select(rows, values) for group, values in depths.items()}
