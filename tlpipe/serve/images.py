"""Images in, class labels with probabilities out."""

from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tlpipe.bundle import Bundle
from tlpipe.files import read_file
from tlpipe.preprocess.decode import EXTENSIONS, MOST_PIXELS, UnreadableImage, decode, to_rgb
from tlpipe.preprocess.image import ImagePreprocess
from tlpipe.serve.reading import MAX_PIXELS, BadInput, Labels, Row, Sample


class ImageLabels(Labels):
    """Images in, class labels with probabilities out."""

    media: ClassVar[tuple[str, ...]] = ("image/*", "application/octet-stream")
    form: ClassVar[str] = "image"
    endings: ClassVar[frozenset[str]] = EXTENSIONS
    together: ClassVar[int] = 1

    def __init__(self, bundle: Bundle, folder: Path, max_pixels: int = MAX_PIXELS) -> None:
        super().__init__(bundle)
        self.preprocess = cast(ImagePreprocess, bundle.preprocessing)  # of every bundle of this task
        self.input = bundle.inputs[0].name
        self.max_pixels = min(max_pixels, MOST_PIXELS)

    def decode(self, raw: bytes, media: str = "image/*") -> Sample:
        """The bytes of an image file that a client sent; an animation is refused, as it does not say which frame."""
        return self._file(raw, still=True)

    def _file(self, raw: bytes, still: bool) -> Sample:
        try:
            return self._pack(decode(raw, self.max_pixels, still))
        except UnreadableImage as error:
            raise BadInput(f"the image cannot be used: {error}", 413 if error.reason == "too_large" else 400) from None

    def load(self, item: Any) -> Sample:
        """A path, the bytes of a file, a PIL image, or RGB pixels (H, W, 3) uint8.

        Of an animation the first frame is taken, as it is in training.
        """
        if isinstance(item, bytes | bytearray | memoryview):
            return self._file(bytes(item), still=False)
        if isinstance(item, str | Path):
            try:
                return self._file(read_file(Path(item)), still=False)
            except (OSError, ValueError) as error:
                raise BadInput(str(error)) from None
        if isinstance(item, Image.Image):
            try:
                self._limit(item.height, item.width)
                return self._pack(to_rgb(item))
            except (OSError, UnreadableImage) as error:
                raise BadInput(f"the image cannot be used: {error}") from None
        if isinstance(item, np.ndarray) and item.dtype == np.uint8 and item.ndim == 3 and item.shape[2] == 3:
            return self._pack(item)
        found = f"{item.dtype} {item.shape}" if isinstance(item, np.ndarray) else type(item).__name__
        raise BadInput(f"got {found}; give a path, the bytes of a file, a PIL image or uint8 pixels (H, W, 3) in RGB")

    def _pack(self, image: NDArray[np.uint8]) -> Sample:
        # Resized here as for training, on the decoding threads: then all images have one size and share a batch,
        # and the graph's own resize has nothing left to do.
        self._limit(*image.shape[:2])
        return Sample(({self.input: self.preprocess.pack(image)},))

    def _limit(self, height: int, width: int) -> None:
        if height < 1 or width < 1:
            raise BadInput(f"the image is empty: {width} x {height} pixels")
        rows, columns = self.preprocess.resized_shape(height, width)
        if max(height * width, rows * columns) > self.max_pixels:
            raise BadInput(
                f"the image is too large: {width} x {height} pixels, {columns} x {rows} once resized; "
                f"at most {self.max_pixels:,} pixels are taken",
                413,
            )

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

    def example(self) -> Sample:
        """A grey image."""
        edge = self.preprocess.resize_to
        return Sample(({self.input: np.full((edge, edge, 3), 128, np.uint8)},))
