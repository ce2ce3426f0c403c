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
from dataclasses import dataclass
from pathlib import Path

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


def ingest(job: Job, ids: Sequence[str], workers: int | None = None) -> Iterator[Image | Unreadable]:
    """One outcome a sample, in order; the scratch file is complete when the iterator is exhausted.

    Args:
        job: The scratch file is created here.
        ids: Sample ids of the source.
        workers: Number of processes; None = one a core, or this one alone where starting them does not pay.
    """
    edge = job.preprocess.resize_to
    with job.scratch.open("wb") as file:
        file.truncate(len(ids) * edge * edge * 3)
    first = list(enumerate(ids[:FIRST])) if workers is None else []
    begun = time.perf_counter()
    yield from (_ingest(job, row, name) for row, name in first)
    rest = list(enumerate(ids))[len(first) :]
    slow = bool(first) and (time.perf_counter() - begun) / len(first) * len(rest) > PATIENCE
    count = workers or (usable_cores() if slow else 1)
    if count > 1:
        yield from _parallel(job, rest, count)
    else:
        yield from (_ingest(job, row, name) for row, name in rest)


def _parallel(job: Job, rows: Sequence[tuple[int, str]], workers: int) -> Iterator[Image | Unreadable]:
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


def _continue(row: tuple[int, str]) -> Image | Unreadable:
    return _ingest(_JOB[0], *row)


def _ingest(job: Job, row: int, name: str) -> Image | Unreadable:
    try:
        raw = job.source.read(name)
        image = job.preprocess.read(raw, job.max_pixels)
        packed = job.preprocess.pack(image)
    except UnreadableImage as error:
        return Unreadable(error.reason, error.detail)
    except OSError as error:
        reason = "missing" if isinstance(error, FileNotFoundError) else "unreadable"
        return Unreadable(reason, error.strerror or str(error))
    # Plain writes, not a memory map: pages of a map count as this process's memory until they are written back.
    with job.scratch.open("r+b") as file:
        file.seek(row * packed.nbytes)
        file.write(packed.tobytes())
    height, width = image.shape[:2]
    pixels = hashlib.sha256(f"{height},{width}".encode() + image.tobytes()).digest()
    sha256, brightest = hashlib.sha256(raw).hexdigest(), int(image.max())
    return Image(sha256, pixels, width, height, brightest, thumbnail(image).tobytes())
