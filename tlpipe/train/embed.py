"""One pass of the frozen backbone over the samples that are learnt from, kept at every depth."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.lib.format import open_memmap
from numpy.typing import NDArray
from torch import Tensor

from tlpipe.backbones.base import Encoder
from tlpipe.data.packed import Packed
from tlpipe.train.batches import Batches, RowNumbers, chunks
from tlpipe.train.device import Machine
from tlpipe.train.fitting import Fitting
from tlpipe.train.views import views_of

ABOUT = "features.json"


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


def embed(encoder: Encoder, packed: Packed, machine: Machine, folder: Path, batch_size: int) -> Iterator[int]:
    """Write the features of the train and validation splits to `folder`; yields the number of samples of each batch.

    Evaluation view. Frozen means frozen: the encoder runs in eval mode, and a sample's features do not depend on its
    batch.
    """
    team, arrays = machine.team, dict[str, NDArray[np.float32]]()
    encoder.eval()
    machine.place(encoder)
    count = packed.labelled
    marks = packed.targets.range(0, count)[1]
    parts = chunks(np.arange(count), batch_size)
    computed = depth_features(encoder, packed, Fitting(machine, batch_size), team.turns(parts))
    folder.mkdir(parents=True, exist_ok=True)
    for _ in range(0, len(parts), team.size):
        for rows, features in team.gather(next(computed, (np.arange(0), {}))):
            for group, values in features.items() if team.first else ():
                if group not in arrays:
                    shape = (marks, values.shape[1])
                    arrays[group] = open_memmap(folder / f"{group}.npy", "w+", np.float32, shape)
                arrays[group][slice(*packed.targets.range(int(rows[0]), int(rows[-1]) + 1))] = values
            yield len(rows)
    for array in arrays.values():
        array.flush()  # type: ignore[attr-defined]
    about = {"groups": list(arrays), "dims": [array.shape[1] for array in arrays.values()]}
    if team.first:
        (folder / ABOUT).write_text(json.dumps(about, indent=2) + "\n")


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
