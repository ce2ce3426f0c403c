"""Reading every sample once, on all cores: decoded, resized, written to its row of a scratch file, and described."""

import hashlib
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tlpipe.cores import usable_cores
from tlpipe.data.base import Source
from tlpipe.data.similar import thumbnail
from tlpipe.preprocess.decode import UnreadableImage
from tlpipe.preprocess.image import ImagePreprocess

FIRST, PATIENCE = 32, 2.0
"""Samples read alone at first, and the seconds that the rest may take before processes are started to help."""
CHUNK = 16
"""Samples handed to a process at a time."""


@dataclass(frozen=True)
class Job:
    """What every process needs to know."""

    source: Source
    preprocess: ImagePreprocess
    max_pixels: int
    scratch: Path
    """File of rows of (resize_to, resize_to, 3) uint8; row i is the i-th sample's."""
    known: NDArray[np.str_] = field(default_factory=lambda: np.array([], "U64"))
    """sha256 of files that need not be decoded, sorted."""


@dataclass(frozen=True, slots=True)
class Image:
    """What is remembered of a raw image."""

    sha256: str
    """Of the file's bytes."""
    pixels: bytes
    """Hash of size and decoded pixels: equal for files that differ in nothing but their encoding."""
    width: int
    height: int
    brightest: int
    """Largest value of a channel, of 255."""
    thumbnail: bytes


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Why a sample could not be read."""

    reason: str
    detail: str
    sha256: str
    """Of the file's bytes; "" where another try may go better."""


@dataclass(frozen=True, slots=True)
class Unchanged:
    """A file with these bytes is one of `Job.known`; its row of the scratch file is not written."""

    sha256: str


Outcome = Image | Unreadable


def create_scratch(job: Job, count: int) -> None:
    """The scratch file with `count` rows, none of which takes room before it is written."""
    edge = job.preprocess.resize_to
    with job.scratch.open("wb") as file:
        file.truncate(count * edge * edge * 3)


def ingest(job: Job, rows: Sequence[tuple[int, str]], workers: int | None = None) -> Iterator[Outcome | Unchanged]:
    """One outcome a sample, in order; its rows of the scratch file are written when the iterator is exhausted.

    Args:
        job: Its scratch file is there, see `create_scratch`.
        rows: Row of the scratch file and id of each sample.
        workers: Number of processes; None = one a core, or this one alone where starting them does not pay.
    """
    first = rows[:FIRST] if workers is None else []
    begun = time.perf_counter()
    yield from (_ingest(job, row, name) for row, name in first)
    rest = rows[len(first) :]
    slow = bool(first) and (time.perf_counter() - begun) / len(first) * len(rest) > PATIENCE
    count = workers or (usable_cores() if slow else 1)
    if count > 1:
        yield from _parallel(job, rest, count)
    else:
        yield from (_ingest(job, row, name) for row, name in rest)


def _parallel(job: Job, rows: Sequence[tuple[int, str]], workers: int) -> Iterator[Outcome | Unchanged]:
    # Spawned, because a forked child of a process with threads (BLAS, torch) may hang.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, context, initializer=_begin, initargs=(job,))
    try:
        yield from pool.map(_continue, rows, chunksize=CHUNK)
    except BrokenProcessPool:
        raise RuntimeError("a process that read images was killed, most likely for want of memory") from None
    finally:
        pool.shutdown(cancel_futures=True)


_JOB: list[Job] = []


def _begin(job: Job) -> None:
    """In a new process: remember the job, leave Ctrl-C to the parent, and end when the parent does."""
    _JOB.append(job)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _continue(row: tuple[int, str]) -> Outcome | Unchanged:
    return _ingest(_JOB[0], *row)


def _ingest(job: Job, row: int, name: str) -> Outcome | Unchanged:
    try:
        raw = job.source.read(name)
    except OSError as error:
        reason = "missing" if isinstance(error, FileNotFoundError) else "unreadable"
        return Unreadable(reason, error.strerror or str(error), "")
    sha256 = hashlib.sha256(raw).hexdigest()
    at = np.searchsorted(job.known, sha256)
    if at < len(job.known) and job.known[at] == sha256:
        return Unchanged(sha256)
    try:
        image = job.preprocess.read(raw, job.max_pixels)
        packed = job.preprocess.pack(image)
    except UnreadableImage as error:
        return Unreadable(error.reason, error.detail, sha256)
    except OSError as error:
        return Unreadable("unreadable", error.strerror or str(error), "")
    # Plain writes, not a memory map: pages of a map count as this process's memory until they are written back.
    with job.scratch.open("r+b") as file:
        file.seek(row * packed.nbytes)
        file.write(packed.tobytes())
    height, width = image.shape[:2]
    pixels = hashlib.sha256(f"{height},{width}".encode() + image.tobytes()).digest()
    return Image(sha256, pixels, width, height, int(image.max()), thumbnail(image).tobytes())
