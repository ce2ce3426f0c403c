"""Images: decoded and resized on all cores into a scratch file, compared by their thumbnails, copied row by row."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tlpipe.data.base import listing
from tlpipe.data.duplicates import Rejected, reject
from tlpipe.data.findings import image_sizes
from tlpipe.data.ingest import Image, Job, Unreadable, ingest
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
        job = Job(data.source, preprocess, data.checks.max_pixels, self.scratch)
        self.images: dict[int, Image] = {}
        self.rejected: dict[int, Rejected] = {}
        self.thumbnails = np.zeros((len(samples), EDGE * EDGE), np.uint8)
        outcomes = ingest(job, self._ids, intake.workers)
        for index, outcome in enumerate(self.track(outcomes, "reading images", len(samples), "img")):
            if isinstance(outcome, Unreadable):
                self.rejected[index] = reject(samples[index], outcome.reason, outcome.detail)
            else:
                self.images[index] = outcome
                self.thumbnails[index] = np.frombuffer(outcome.thumbnail, np.uint8)
        self.content = {index: image.pixels for index, image in self.images.items()}

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
        """`images.npy` (N, R, R, 3) uint8; the scratch file goes."""
        size = self.edge * self.edge * 3
        header = {"descr": "|u1", "fortran_order": False, "shape": (len(samples), self.edge, self.edge, 3)}
        with (folder / "images.npy").open("wb") as target, self.scratch.open("rb") as source:
            np.lib.format.write_array_header_1_0(target, header)
            for index in self.track(samples, "writing arrays", len(samples), "img"):
                source.seek(index * size)
                target.write(source.read(size))
        self.scratch.unlink()

    def report(self, samples: Mapping[int, Split]) -> dict[str, Any]:
        """Sizes of the raw images, and which of them are nearly black."""
        sizes = image_sizes([(self.images[index].width, self.images[index].height) for index in samples])
        dark = [self._ids[index] for index in samples if self.images[index].brightest <= DARK]
        note = (
            f"{len(dark):,} images are nearly black, with no value above {DARK} of 255 ({listing(dark, 5)}); if they "
            "are 12-bit data in 16-bit files, multiply their values by 16 (`magick mogrify -evaluate multiply 16` does)"
        )
        return {**sizes, "notes": [note] if dark else []}
