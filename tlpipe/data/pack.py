"""From a source to the folder of packed arrays: read, check, split, write; nothing is dropped without a reason."""

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from tlpipe.config import ConfigError
from tlpipe.data.base import TERMS, Sample, Track, listing, silently
from tlpipe.data.duplicates import exact_copies, reject_exact, reject_near
from tlpipe.data.findings import Findings, check_classes, check_folds, check_groups
from tlpipe.data.label_notes import label_notes
from tlpipe.data.packed import SPLITS
from tlpipe.data.reader import Intake, Reader
from tlpipe.data.spec import Data
from tlpipe.data.split import Assignment, assign, check_splits
from tlpipe.data.write import Row, split_sets, write
from tlpipe.preprocess import AnyPreprocess
from tlpipe.tasks import facet


def pack(
    data: Data,
    task: str,
    preprocess: AnyPreprocess,
    folder: Path,
    track: Track = silently,
    workers: int | None = None,
    tokenizer: Path | None = None,
    cache: Path | None = None,
    code: str = "",
) -> dict[str, Any]:
    """Write `folder` (see `Packed`) and return what was found, ready for reports/data.json.

    Memory stays the same however many images there are, but for about a kilobyte each; the disk must hold the packed
    array twice for a while. Texts are read whole. The folder appears complete or not at all.

    Args:
        data: Source, splits and checks.
        task: Kind of the task, which decides how samples are read and what they are labelled with.
        preprocess: What is done to every sample.
        folder: Replaced if it exists.
        track: Wraps the long loops, as `tlpipe.progress.track` does.
        workers: Number of processes that read images; None = one a core.
        tokenizer: Folder that the tokenizer stage wrote; texts need it.
        cache: Folder of what the last run read (see `PackCache`): images that are in it are not decoded again.
        code: Hash of the code that packs, for the cache.

    Raises:
        ConfigError: When the layout cannot be understood, the splits cannot be made, or a class ends up empty.
    """
    samples = data.source.scan()
    strata = check_samples(samples, data)
    with _whole(folder) as partial:
        intake = Intake(data, preprocess, samples, partial, track, workers, tokenizer, cache, code)
        reader: Reader = facet(task, "samples:Reader")(intake)
        exact = exact_copies(reader.content)
        rejected = {**reader.rejected, **reject_exact(samples, exact, reader.truth)}
        among, threshold = set(reader.content) - set(rejected), data.checks.near_duplicates
        near = reader.near(among, threshold) if among and threshold is not None else {}
        rejected |= reject_near(samples, near)
        assigned = assign(samples, set(range(len(samples))) - set(rejected), near, data)
        found = Findings(samples, strata, rejected, exact, near, assigned)
        check_assigned(found, data)
        order = _order(assigned, reader)
        rows = _rows(samples, reader, assigned, order)
        about = reader.report({index: assigned.splits[index] for index in order})
        reader.write(partial, order)
        np.save(partial / "labels.npy", reader.labels(order))
        fingerprint = write(partial, rows, reader.classes, task, preprocess, reader.columns, assigned.refit)
    known_by = {"fingerprint": fingerprint, "sets": split_sets(rows)}
    notes = [*label_notes(reader.classes), *about.pop("notes", ()), *data.source.notes()]
    left = {"ignored": [name for name in data.source.ignored() if name != TERMS], "terms": data.source.terms()}
    return {**found.report(), **about, "notes": notes, **left, **known_by}


def _order(assigned: Assignment, reader: Reader) -> list[int]:
    """Samples in the order of the packed rows: by split, then by fold, then as the reader wants them."""
    splits, folds = assigned.splits, assigned.folds
    keys = {index: (SPLITS.index(split), folds.get(index, 0)) for index, split in splits.items()}
    return sorted(splits, key=lambda index: (*keys[index], reader.place(index), index))


def check_samples(samples: Sequence[Sample], data: Data) -> tuple[str, ...]:
    """The classes (or strata) of the listed samples. Raises ConfigError for what can be refused before one is read."""
    strata = _strata(samples, data)
    check_splits(samples, data.split)
    check_groups(samples, data)
    return strata


def check_assigned(found: Findings, data: Data) -> None:
    """Raise ConfigError when a class would be empty in a split, or not learnt by a fold's model."""
    check_classes(found.counts, found.rejected.values(), data)
    check_folds(found.fold_counts, data)


def _strata(samples: Sequence[Sample], data: Data) -> tuple[str, ...]:
    classes = tuple(sorted({sample.label for sample in samples}))
    if len(classes) < 2 and not data.source.stratified:
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


def _rows(samples: Sequence[Sample], reader: Reader, assigned: Assignment, order: Sequence[int]) -> list[Row]:
    splits, folds = assigned.splits, assigned.folds
    rows = (Row(index, samples[index], splits[index], reader.describe(index), folds.get(index)) for index in order)
    return [row for row in rows for _ in range(reader.parts(row.index))]
