"""Images: decoded and resized on all cores into a scratch file, compared by their thumbnails, copied row by row.

What the last run decoded with the same settings and code is taken from its `PackCache`, to the same bytes.
"""

import hashlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from tlpipe.config import ConfigError
from tlpipe.data.base import listing
from tlpipe.data.duplicates import Rejected, reject
from tlpipe.data.findings import image_sizes
from tlpipe.data.ingest import Image, Job, Outcome, Unchanged, Unreadable, create_scratch, ingest
from tlpipe.data.pack_cache import Content, PackCache, Stamp, row_hash, stamp_of
from tlpipe.data.packed import Split
from tlpipe.data.reader import Intake, OneLabel, Pairs
from tlpipe.data.similar import EDGE, near_pairs
from tlpipe.data.space import check_space

DARK = 16
"""An image without a brighter value is hardly meant: 12 bits in a file of 16 give at most this, of 255."""


class ImageReader(OneLabel):
    """The `Reader` of image files."""

    columns = ("sha256", "width", "height")

    def __init__(self, intake: Intake) -> None:
        data, samples, preprocess = intake.data, intake.samples, intake.preprocess
        super().__init__(samples)
        self._ids = [sample.id for sample in samples]
        self.edge, self.scratch, self.track = preprocess.resize_to, intake.folder / "scratch", intake.track
        what = f"{len(samples):,} images at {self.edge} x {self.edge} pixels"
        check_space(intake.folder, 2 * len(samples) * self.edge**2 * 3, what)
        settings = json.dumps([preprocess.model_dump_json(), data.checks.max_pixels, intake.code])
        self._cache = PackCache.open(intake.cache, hashlib.sha256(settings.encode()).hexdigest())
        known = np.array(sorted(self._cache.outcomes), "U64")
        self._job = Job(data.source, preprocess, data.checks.max_pixels, self.scratch, known)
        create_scratch(self._job, len(samples))
        self._began, self._workers = time.time_ns(), intake.workers
        self._stamps: dict[int, Stamp] = {}
        self._outcomes: dict[int, Outcome] = {}
        self._decoded: set[int] = set()
        """Those whose row of the scratch file is written."""
        for index, outcome in self._read():
            self._outcomes[index] = outcome
        self.rejected: dict[int, Rejected] = {}
        self.images: dict[int, Image] = {}
        self.thumbnails = np.zeros((len(samples), EDGE * EDGE), np.uint8)
        for index, outcome in sorted(self._outcomes.items()):
            if isinstance(outcome, Unreadable):
                self.rejected[index] = reject(samples[index], outcome.reason, outcome.detail)
            else:
                self.images[index] = outcome
                self.thumbnails[index] = np.frombuffer(outcome.thumbnail, np.uint8)
        self.content = {index: image.pixels for index, image in self.images.items()}

    def _read(self) -> Iterator[tuple[int, Outcome]]:
        """What reading each sample gives, or gave when its file was read last; the new ones come last."""
        new = list[int]()
        for index, name in enumerate(self._ids):
            stamp = stamp_of(self._job.source.root / name)
            sha256 = self._cache.sha256(name, stamp) if stamp else None
            if stamp:
                self._stamps[index] = stamp
            if sha256 is None:
                new.append(index)
            else:
                yield index, self._cache.outcomes[sha256]
        known = len(self._ids) - len(new)
        what = f"reading images ({known:,} are known)" if known else "reading images"
        rows = [(index, self._ids[index]) for index in new]
        outcomes = self.track(ingest(self._job, rows, self._workers), what, len(new), "img")
        for index, outcome in zip(new, outcomes, strict=True):
            if isinstance(outcome, Unchanged):
                yield index, self._cache.outcomes[outcome.sha256]
            else:
                self._decoded.add(index)
                yield index, outcome

    def _decode(self, samples: Sequence[int]) -> None:
        """Fill the rows of the scratch file of images that were described before, and not packed then."""
        rows = [(index, self._ids[index]) for index in samples]
        outcomes = ingest(replace(self._job, known=np.array([], "U64")), rows, self._workers)
        for index, outcome in zip(samples, self.track(outcomes, "reading images", len(rows), "img"), strict=True):
            if outcome != self._outcomes[index]:
                raise ConfigError(f"data: {self._ids[index]} changed while it was read; run `dvc repro` again")
            self._decoded.add(index)

    def near(self, among: set[int], threshold: float) -> Pairs:
        """By the correlation of whitened thumbnails, see tlpipe.data.similar."""
        chosen = np.array(sorted(among), np.int64)
        sides = np.array([min(self.images[index].width, self.images[index].height) for index in chosen.tolist()])
        pairs, likeness = near_pairs(self.thumbnails[chosen], sides, threshold)
        ends = chosen[pairs].tolist()
        return {(first, second): value for (first, second), value in zip(ends, likeness.tolist(), strict=True)}

    def place(self, index: int) -> int:
        """All images have one size: they stay in the source's order."""
        return 0

    def describe(self, index: int) -> tuple[object, ...]:
        """Hash of the file's bytes, width and height of the raw image."""
        image = self.images[index]
        return image.sha256, image.width, image.height

    def write(self, folder: Path, samples: Sequence[int]) -> None:
        """`images.npy` (N, R, R, 3) uint8; the scratch file goes, and the cache is of this run."""
        header = {"descr": "|u1", "fortran_order": False, "shape": (len(samples), self.edge, self.edge, 3)}
        there = self._cache.rows
        missing = [at for at in samples if at not in self._decoded and self.images[at].sha256 not in there]
        if missing:
            self._decode(missing)
        rows = dict[str, tuple[int, bytes]]()
        with (folder / "images.npy").open("wb") as target, self.scratch.open("rb") as source:
            np.lib.format.write_array_header_1_0(target, header)
            for number, index in enumerate(self.track(samples, "writing arrays", len(samples), "img")):
                row = self._row(index, source)
                target.write(row)
                rows[self._ids[index]] = number, row_hash(row)
        self.scratch.unlink()
        kept = [index for index in sorted(self._stamps) if self._outcomes[index].sha256]
        names, outcomes = [self._ids[index] for index in kept], [self._outcomes[index] for index in kept]
        stamps = [self._stamps[index] for index in kept]
        self._cache.replace(folder / "images.npy", Content(names, stamps, outcomes, rows, self._began))

    def _row(self, index: int, scratch: BinaryIO) -> bytes:
        if index not in self._decoded:
            if (row := self._cache.row(self.images[index].sha256)) is not None:
                return row
            self._decode([index])  # the cache is damaged
        size = self.edge * self.edge * 3
        scratch.seek(index * size)
        return scratch.read(size)

    def report(self, samples: Mapping[int, Split]) -> dict[str, Any]:
        """Sizes of the raw images, and which of them are nearly black."""
        sizes = image_sizes([(self.images[index].width, self.images[index].height) for index in samples])
        dark = [self._ids[index] for index in samples if self.images[index].brightest <= DARK]
        note = (
            f"{len(dark):,} images are nearly black, with no value above {DARK} of 255 ({listing(dark, 5)}); if they "
            "are 12-bit data in 16-bit files, multiply their values by 16 (`magick mogrify -evaluate multiply 16` does)"
        )
        return {**sizes, "notes": [note] if dark else []}
