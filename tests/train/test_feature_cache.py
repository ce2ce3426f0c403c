"""Frozen features of a set that grows: only new images are computed, to the bits of a run from scratch."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.train.conftest import make_packed
from tlpipe.backbones.letters import Letters
from tlpipe.data.packed import Packed
from tlpipe.train.cache.embed import embed
from tlpipe.train.cache.feature_cache import FeatureCache
from tlpipe.train.hardware.device import Machine


class Embedding:
    """Embeds with a cache, as the stage does after DVC deleted its outs."""

    def __init__(self, folder: Path, machine: Machine) -> None:
        self.folder, self.machine, self.encoder = folder, machine, Letters(width=4).encoder()

    def run(self, packed: Packed, key: str = "1") -> tuple[int, dict[str, bytes]]:
        """Samples that were computed, and the files."""
        shutil.rmtree(self.folder / "out", ignore_errors=True)
        cache = FeatureCache.open(self.folder / "reuse/features", key)
        return sum(embed(self.encoder, packed, self.machine, self.folder / "out", 8, cache)), files_of(
            self.folder / "out"
        )

    def scratch(self, packed: Packed) -> dict[str, bytes]:
        list(embed(self.encoder, packed, self.machine, self.folder / "fresh", 8))
        return files_of(self.folder / "fresh")


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def embedding(tmp_path: Path, machine: Machine) -> Embedding:
    return Embedding(tmp_path, machine)


@pytest.fixture
def packed(tmp_path: Path) -> Packed:
    return make_packed(tmp_path / "packed")


def part(packed: Packed, rows: list[int]) -> Packed:
    """Some rows of a set, in that order; all of them are learnt from."""
    ranges = {"train": (0, len(rows)), "validation": (len(rows), len(rows)), "test": (len(rows), len(rows))}
    return replace(
        packed, samples=np.ascontiguousarray(packed.samples[rows]), labels=packed.labels[rows], ranges=ranges
    )


def test_ten_per_cent_more_images_compute_ten_per_cent(embedding: Embedding, packed: Packed) -> None:
    rows = list(range(0, 40, 2)) + list(range(1, 40, 2))
    assert embedding.run(part(packed, rows))[0] == 40
    grown = part(packed, [41, *range(30), 40, *range(30, 40), 42, 43])
    assert embedding.run(grown) == (4, embedding.scratch(grown))
    assert embedding.run(grown) == (0, embedding.scratch(grown))


def test_other_weights_compute_all(embedding: Embedding, packed: Packed) -> None:
    rows = part(packed, list(range(20)))
    embedding.run(rows)
    assert embedding.run(rows, "2")[0] == 20


def test_features_that_do_not_come_out_again_are_not_taken(embedding: Embedding, packed: Packed) -> None:
    rows = part(packed, list(range(20)))
    embedding.run(rows)
    embedding.encoder = Letters(width=4, seed=5).encoder()
    assert embedding.run(rows) == (20, embedding.scratch(rows))


def test_a_damaged_cache_changes_no_bit(embedding: Embedding, packed: Packed) -> None:
    rows = part(packed, list(range(20)))
    whole = embedding.run(rows)[1]
    cache = embedding.folder / "reuse/features"
    name = f"{embedding.encoder.groups[0]}.npy"
    array = np.load(cache / name)
    array[4] += 1
    (cache / name).unlink()
    np.save(cache / name, array)
    assert embedding.run(rows) == (1, whole)
    for path in cache.iterdir():
        content = path.read_bytes()
        path.unlink()
        path.write_bytes(content[: len(content) // 2])
        assert embedding.run(rows)[1] == whole
    shutil.rmtree(cache)
    cache.with_name(".features.half").mkdir()  # as a kill leaves it
    assert embedding.run(rows) == (20, whole)
    assert [path.name for path in cache.parent.iterdir()] == ["features"]
