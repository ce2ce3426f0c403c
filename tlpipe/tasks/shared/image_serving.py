"""Requests of tasks on images in serving: an image file, or pixels."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tlpipe.bundle import Bundle
from tlpipe.preprocess.decode import EXTENSIONS, MOST_PIXELS, UnreadableImage, check_size, to_rgb
from tlpipe.preprocess.image import ImagePreprocess
from tlpipe.serve.reading import BadInput, Binary, Row, Sample, Spend, read_bytes


class Images:
    """Reads one image a sample."""

    media: ClassVar[tuple[str, ...]] = ("image/*", "application/octet-stream")
    bodies: ClassVar[Mapping[str, Any]] = dict.fromkeys(("image/jpeg", "image/png", "image/webp"), Binary)
    tokens: ClassVar[bool] = False
    needs: ClassVar[str | None] = None
    endings: ClassVar[frozenset[str]] = EXTENSIONS
    together: ClassVar[int] = 1
    cells_in: ClassVar[tuple[str, ...]] = ()

    def __init__(self, bundle: Bundle, folder: Path, max_pixels: int | None = None) -> None:
        self.preprocess = cast(ImagePreprocess, bundle.preprocessing)  # of every bundle of this task
        self.input = bundle.inputs[0].name
        self.max_pixels = min(max_pixels or bundle.limits.max_pixels, MOST_PIXELS)

    def decode(self, raw: bytes, media: str = "image/*", spend: Spend | None = None) -> Sample:
        """The bytes of an image file, read as in training: of an animation the first frame."""
        try:
            # Resized here as for training, on the decoding threads: then all images have one size and share a batch,
            # and the graph's own resize has nothing left to do.
            return self._pack(self.preprocess.read(raw, self.max_pixels, spend))
        except UnreadableImage as error:
            raise _bad(error) from None

    def load(self, item: Any) -> Sample:
        """A path, the bytes of a file, a PIL image, or RGB pixels (H, W, 3) uint8."""
        if isinstance(item, bytes | bytearray | memoryview):
            return self.decode(bytes(item))
        if isinstance(item, str | Path):
            return self.decode(read_bytes(Path(item)))
        if isinstance(item, Image.Image):
            self._limit(item.height, item.width)
            try:
                return self._pack(to_rgb(item))
            except OSError as error:
                raise BadInput(f"the image cannot be used: {error}") from None
            except UnreadableImage as error:
                raise _bad(error) from None
        if isinstance(item, np.ndarray) and item.dtype == np.uint8 and item.ndim == 3 and item.shape[2] == 3:
            self._limit(*item.shape[:2])
            return self._pack(item)
        found = f"{item.dtype} {item.shape}" if isinstance(item, np.ndarray) else type(item).__name__
        raise BadInput(f"got {found}; give a path, the bytes of a file, a PIL image or uint8 pixels (H, W, 3) in RGB")

    def _pack(self, image: NDArray[np.uint8]) -> Sample:
        return Sample(({self.input: self.preprocess.pack(image)},))

    def _limit(self, height: int, width: int) -> None:
        try:
            check_size(width, height, self.max_pixels, self.preprocess.edge)
        except UnreadableImage as error:
            refused = _bad(error)
            word = error.reason.replace("_", " ")
            raise BadInput(f"the image is {word}: {error.detail}", refused.status) from None

    def check(self, feeds: Row) -> None:
        """Refuse sizes that would cost too much memory, the graph's own resize included, over the whole batch."""
        count, height, width = feeds[self.input].shape[:3]
        self._limit(height, width)
        rows, columns = self.preprocess.resized_shape(height, width)
        if count * max(height * width, rows * columns) > self.max_pixels:
            raise BadInput(
                f"{count} images of {width} x {height} pixels are {columns} x {rows} each once resized: more than "
                f"{self.max_pixels:,} pixels in one request",
                413,
            )

    @property
    def vocabulary(self) -> int:
        """None."""
        return 0

    def example(self) -> Sample:
        """A grey image."""
        edge = self.preprocess.resize_to
        return Sample(({self.input: np.full((edge, edge, 3), 128, np.uint8)},))


def _bad(error: UnreadableImage) -> BadInput:
    return BadInput(f"the image cannot be used: {error}", 413 if error.reason == "too_large" else 400)
