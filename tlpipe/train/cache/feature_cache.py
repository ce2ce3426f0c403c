"""Feature cache: the frozen features of the last `embed`, by the hash of each packed image, for a set that grows.

Like tlpipe.data.pack_cache it holds hard links to what the stage wrote, outside of DVC's outs, and is checked by hashes
when it is read. A sample's features have the same bits in every batch of one size, so batches are filled up; that it
is so on this machine is checked each time, by computing some of the known ones again.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tlpipe.data.pack_cache import SUM, row_hash
from tlpipe.train.inputs.batches import RowNumbers

ABOUT, SAMPLES, SUMS = "about.json", "samples.npy", "sums.npy"
NONE = -1


@dataclass(frozen=True)
class FeatureCache:
    """Features that were computed with these weights, this precision, and this code; empty where there are none."""

    folder: Path
    key: str
    """Hash of everything that decides the features of an image."""
    arrays: Mapping[str, NDArray[np.float32]]
    """By group, (M, D_g), mapped."""
    rows: Mapping[bytes, int]
    """By the hash of a packed image, its row of the arrays."""

    @classmethod
    def open(cls, folder: Path, key: str) -> "FeatureCache":
        """The cache in `folder`; empty if it is of another key or broken. Damaged rows are left out."""
        try:
            about = json.loads((folder / ABOUT).read_text())
            if about["key"] != key:
                return cls(folder, key, {}, {})
            arrays = {group: np.load(folder / f"{group}.npy", mmap_mode="r") for group in about["groups"]}
            samples, sums = np.load(folder / SAMPLES), np.load(folder / SUMS)
        except (OSError, ValueError, KeyError, EOFError):
            return cls(folder, key, {}, {})
        if any(len(array) != len(samples) for array in arrays.values()) or len(sums) != len(samples):
            return cls(folder, key, {}, {})
        whole = (row for row in range(len(samples)) if _sum(arrays, row) == sums[row].tobytes())
        return cls(folder, key, arrays, {samples[row].tobytes(): row for row in whole})

    def known(self, samples: NDArray[np.uint8]) -> RowNumbers:
        """(N,) rows of `arrays` for packed images, by their hashes (N, SUM); NONE where there is none."""
        return np.array([self.rows.get(each.tobytes(), NONE) for each in samples], np.int64)

    def replace(self, features: Path, samples: NDArray[np.uint8]) -> None:
        """Keep the folder that `embed` wrote instead; a kill leaves the old cache, the new one or none."""
        groups = json.loads((features / "features.json").read_text())["groups"]
        arrays = {group: np.load(features / f"{group}.npy", mmap_mode="r") for group in groups}
        half = self.folder.with_name(f".{self.folder.name}.half")
        shutil.rmtree(half, ignore_errors=True)
        half.mkdir(parents=True)
        try:
            for group in groups:
                os.link(features / f"{group}.npy", half / f"{group}.npy")
            np.save(half / SAMPLES, samples)
            sums = b"".join(_sum(arrays, row) for row in range(len(samples)))
            np.save(half / SUMS, np.frombuffer(sums, np.uint8).reshape(len(samples), SUM))
            (half / ABOUT).write_text(json.dumps({"key": self.key, "groups": groups}))
            shutil.rmtree(self.folder, ignore_errors=True)
            half.replace(self.folder)
        except OSError:  # no hard links here, or no room: the run itself has all that it needs
            shutil.rmtree(half, ignore_errors=True)


def sample_hashes(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(N, SUM) hashes of packed images (N, R, R, 3)."""
    joined = b"".join(row_hash(image.tobytes()) for image in images)
    return np.frombuffer(joined, np.uint8).reshape(len(images), SUM)


def _sum(arrays: Mapping[str, NDArray[np.float32]], row: int) -> bytes:
    digest = hashlib.blake2b(digest_size=SUM)
    for array in arrays.values():
        digest.update(array[row].tobytes())
    return digest.digest()
