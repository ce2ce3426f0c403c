"""A task on either side of the graph: from what a client sends to tensors, and from tensors to an answer.

To serve another task: one subclass of `Reading`, one line in `READINGS`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tlpipe.bundle import Bundle
from tlpipe.config import ConfigError
from tlpipe.preprocess.decode import MOST_PIXELS, UnreadableImage, decode, to_rgb
from tlpipe.preprocess.image import ImagePreprocess

Row = dict[str, NDArray[Any]]
"""Tensors of one sample, by input or output, without the batch axis."""
Answer = dict[str, Any]
"""What a client gets for one sample; JSON."""
MAX_PIXELS = 50_000_000


class BadInput(ValueError):  # noqa: N818 - reads as a finding about what was sent
    """Something sent that cannot be used: a sentence, and the HTTP status that goes with it."""

    def __init__(self, sentence: str, status: int = 400) -> None:
        super().__init__(sentence)
        self.status = status


class Busy(BadInput):
    """The server has no room now: 503, and the client may try again."""

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence, 503)


class Reading(Protocol):
    """The contract of a task in serving."""

    media: ClassVar[tuple[str, ...]]
    """Content types that `decode` takes; `image/*` stands for all of them."""
    form: ClassVar[str]
    """What the page at `/` asks for: `image` or `text`."""

    def __init__(self, bundle: Bundle, max_pixels: int) -> None: ...

    def decode(self, raw: bytes, media: str) -> Row:
        """One sample as a client sent it. Raises BadInput."""

    def load(self, item: Any) -> Row:
        """One sample as a Python caller has it (a path, bytes, an object of the field). Raises BadInput."""

    def check(self, feeds: Row) -> None:
        """Raises BadInput for tensors (N, ...) of right type and rank that must not reach the graph."""

    def answer(self, outputs: Row, top: int) -> Answer:
        """The outputs of one sample, for people."""

    def example(self) -> Row:
        """A sample for warming up."""

    def columns(self, every: bool) -> tuple[str, ...]:
        """Names of `cells`."""

    def cells(self, answer: Answer) -> Sequence[Any]:
        """An answer as the cells of a table."""


class ImageLabels:
    """Images in, class labels with probabilities out."""

    media: ClassVar[tuple[str, ...]] = ("image/*", "application/octet-stream")
    form: ClassVar[str] = "image"

    def __init__(self, bundle: Bundle, max_pixels: int = MAX_PIXELS) -> None:
        self.labels = bundle.labels
        self.preprocess = cast(ImagePreprocess, bundle.preprocessing)  # of every bundle of this task
        self.input = bundle.inputs[0].name
        self.max_pixels = min(max_pixels, MOST_PIXELS)

    def decode(self, raw: bytes, media: str = "image/*") -> Row:
        """The bytes of an image file; the first frame of an animation."""
        try:
            return self._pack(decode(raw, self.max_pixels))
        except UnreadableImage as error:
            raise BadInput(f"the image cannot be used: {error}", 413 if error.reason == "too_large" else 400) from None

    def load(self, item: Any) -> Row:
        """A path, the bytes of a file, a PIL image, or RGB pixels (H, W, 3) uint8."""
        if isinstance(item, bytes | bytearray | memoryview):
            return self.decode(bytes(item))
        if isinstance(item, str | Path):
            try:
                return self.decode(Path(item).read_bytes())
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

    def _pack(self, image: NDArray[np.uint8]) -> Row:
        # Resized here as for training, on the decoding threads: then all images have one size and share a batch,
        # and the graph's own resize has nothing left to do.
        self._limit(*image.shape[:2])
        return {self.input: self.preprocess.pack(image)}

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

    def answer(self, outputs: Row, top: int = 5) -> Answer:
        """The label, its probability, and the `top` most probable ones."""
        probabilities = outputs["probabilities"]
        order = np.argsort(-probabilities, kind="stable")[: max(top, 1)]
        best = [{"label": self.labels[i], "probability": round(float(probabilities[i]), 6)} for i in order]
        return {**best[0], "top": best[:top]}

    def example(self) -> Row:
        """A grey image."""
        edge = self.preprocess.resize_to
        return {self.input: np.full((edge, edge, 3), 128, np.uint8)}

    def columns(self, every: bool = False) -> tuple[str, ...]:
        """`label`, `probability`, and with `every` one column a class."""
        return "label", "probability", *(f"p_{label}" for label in self.labels if every)

    def cells(self, answer: Answer) -> Sequence[Any]:
        """The label, its probability, and what other labels the answer has in the order of the classes."""
        known = {each["label"]: each["probability"] for each in answer["top"]}
        others = [known[label] for label in self.labels] if len(known) == len(self.labels) else []
        return [answer["label"], answer["probability"], *others]


READINGS: dict[str, type[Reading]] = {"image_classification": ImageLabels}


def reading(bundle: Bundle, max_pixels: int = MAX_PIXELS) -> Reading:
    """How the bundle's task is read and answered. Raises ConfigError for a task that cannot be served."""
    if bundle.task not in READINGS:
        raise ConfigError(f"the bundle's task is {bundle.task!r}; what can be served: {', '.join(READINGS)}")
    return READINGS[bundle.task](bundle, max_pixels)
