"""One pass of the frozen backbone over all samples, kept at every depth."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from tlpipe.backbones.base import Encoder
from tlpipe.data.packed import SPLITS, Packed
from tlpipe.train.augment import Views
from tlpipe.train.batches import Batches
from tlpipe.train.device import Machine

ABOUT = "features.json"


@dataclass(frozen=True)
class Features:
    """The folder that `embed` writes: `<group>.npy` float32 (N, D_g), rows as in the packed arrays."""

    folder: Path
    groups: tuple[str, ...]
    """Where features were taken, from the input to the top."""

    @classmethod
    def open(cls, folder: Path) -> "Features":
        """An existing folder."""
        return cls(folder, tuple(json.loads((folder / ABOUT).read_text())["groups"]))

    def at(self, group: str) -> NDArray[np.float32]:
        """Memory-mapped features (N, D_g) after `group`."""
        features: NDArray[np.float32] = np.load(self.folder / f"{group}.npy", mmap_mode="r")
        return features


@torch.inference_mode()
def embed(encoder: Encoder, packed: Packed, machine: Machine, folder: Path, batch_size: int) -> Iterator[int]:
    """Write the features of all splits to `folder`, evaluation view; yields the number of samples of each batch.

    Frozen means frozen: the encoder runs in eval mode, so a sample's features do not depend on its batch.
    """
    folder.mkdir(parents=True, exist_ok=True)
    encoder.eval()
    machine.place(encoder)
    views, batches = Views(packed.preprocess, machine.device), Batches(packed, machine.device)
    arrays: dict[str, NDArray[np.float32]] = {}
    row = 0
    for split in SPLITS:
        for images, labels in batches.sweep(split, batch_size):
            with machine.autocast():
                for group, features in encoder.depths(views.evaluation(images)):
                    if group not in arrays:
                        shape = (len(packed.labels), features.shape[1])
                        arrays[group] = open_memmap(folder / f"{group}.npy", "w+", np.float32, shape)
                    arrays[group][row : row + len(labels)] = features.float().cpu().numpy()
            row += len(labels)
            yield len(labels)
    for array in arrays.values():
        array.flush()  # type: ignore[attr-defined]
    about = {"groups": list(arrays), "dims": [array.shape[1] for array in arrays.values()]}
    (folder / ABOUT).write_text(json.dumps(about, indent=2) + "\n")
