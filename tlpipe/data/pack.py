"""From a source to the folder of packed arrays: read, check, split, write; nothing is dropped without a reason."""

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlpipe.config import ConfigError
from tlpipe.data.base import Sample, Track, listing, silently
from tlpipe.data.duplicates import Rejected, exact_copies, reject, reject_exact, reject_near
from tlpipe.data.findings import Findings, check_classes, image_sizes
from tlpipe.data.ingest import Image, Job, Unreadable, ingest
from tlpipe.data.packed import SPLITS, Split
from tlpipe.data.similar import EDGE, near_pairs
from tlpipe.data.spec import Data
from tlpipe.data.split import assign, check_splits
from tlpipe.data.write import Row, write
from tlpipe.preprocess.image import ImagePreprocess


@dataclass(frozen=True)
class Reading:
    """What is known after every sample was read once; indices are those of `samples`."""

    samples: Sequence[Sample]
    images: Mapping[int, Image]
    thumbnails: NDArray[np.uint8]
    rejected: Mapping[int, Rejected]


def pack(
    data: Data, preprocess: ImagePreprocess, folder: Path, track: Track = silently, workers: int | None = None
) -> dict[str, Any]:
    """Write `folder` (see `Packed`) and return what was found, ready for reports/data.json.

    Memory stays the same however many images there are, but for about a kilobyte each; the disk must hold the packed
    array twice for a while. The folder appears complete or not at all.

    Args:
        data: Source, splits and checks.
        preprocess: The resize; rows are what `preprocess.pack` makes.
        folder: Replaced if it exists.
        track: Wraps the long loops, as `tlpipe.progress.track` does.
        workers: Number of processes; None = one a core.

    Raises:
        ConfigError: When the layout cannot be understood, the splits cannot be made, or a class ends up empty.
    """
    samples = data.source.scan()
    classes = _classes(samples)
    check_splits(samples, data.split)
    with _whole(folder) as partial:
        _check_space(partial, len(samples), preprocess.resize_to)
        job = Job(data.source, preprocess, data.checks.max_pixels, partial / "scratch")
        reading = _read(job, samples, track, workers)
        exact = exact_copies({index: image.pixels for index, image in reading.images.items()})
        rejected = {**reading.rejected, **reject_exact(samples, exact)}
        near = _near(reading, set(reading.images) - set(rejected), data.checks.near_duplicates)
        rejected |= reject_near(samples, near)
        kept = set(range(len(samples))) - set(rejected)
        splits, aside = assign(samples, kept, near, data)
        found = Findings(samples, classes, rejected, exact, near, splits, aside)
        check_classes(found.counts, rejected.values(), data)
        rows = _rows(reading, splits)
        fingerprint = write(partial, job.scratch, rows, classes, preprocess, track)
    sizes = [(row.image.width, row.image.height) for row in rows]
    return {**found.report(), **image_sizes(sizes), "ignored": data.source.ignored(), "fingerprint": fingerprint}


def _classes(samples: Sequence[Sample]) -> tuple[str, ...]:
    classes = tuple(sorted({sample.label for sample in samples}))
    if len(classes) < 2:
        raise ConfigError(f"data.source: needs samples of at least two classes, found {listing(list(classes))}")
    return classes


@contextmanager
def _whole(folder: Path) -> Iterator[Path]:
    """A folder beside `folder` that takes its place at the end, and is gone when something fails."""
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _check_space(folder: Path, samples: int, edge: int) -> None:
    needed, free = 2 * samples * edge * edge * 3, shutil.disk_usage(folder).free
    if needed > free:
        raise ConfigError(
            f"{samples:,} images at {edge} x {edge} pixels need {needed / 1e9:.1f} GB of disk for a while, twice what "
            f"the packed array takes; {folder.parent.resolve()} has {free / 1e9:.1f} GB free"
        )


def _read(job: Job, samples: Sequence[Sample], track: Track, workers: int | None) -> Reading:
    images: dict[int, Image] = {}
    rejected: dict[int, Rejected] = {}
    thumbnails = np.zeros((len(samples), EDGE * EDGE), np.uint8)
    outcomes = ingest(job, [sample.id for sample in samples], workers)
    for index, outcome in enumerate(track(outcomes, "reading images", len(samples), "img")):
        if isinstance(outcome, Unreadable):
            rejected[index] = reject(samples[index], outcome.reason, outcome.detail)
        else:
            images[index] = outcome
            thumbnails[index] = np.frombuffer(outcome.thumbnail, np.uint8)
    return Reading(samples, images, thumbnails, rejected)


def _near(reading: Reading, among: set[int], threshold: float | None) -> dict[tuple[int, int], float]:
    """{(i, j): similarity} of the near duplicates `among` the samples, i < j."""
    if threshold is None or not among:
        return {}
    chosen = np.array(sorted(among), np.int64)
    sides = np.array([min(reading.images[index].width, reading.images[index].height) for index in chosen.tolist()])
    pairs, likeness = near_pairs(reading.thumbnails[chosen], sides, threshold)
    ends = chosen[pairs].tolist()
    return {(first, second): value for (first, second), value in zip(ends, likeness.tolist(), strict=True)}


def _rows(reading: Reading, splits: Mapping[int, Split]) -> list[Row]:
    order = sorted(splits, key=lambda index: (SPLITS.index(splits[index]), index))
    return [Row(index, reading.samples[index], splits[index], reading.images[index]) for index in order]
