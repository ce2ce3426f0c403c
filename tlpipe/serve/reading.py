"""A task on either side of the graph: from what a client sends to tensors, and from tensors to an answer."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Annotated, Any, ClassVar, Protocol

from numpy.typing import NDArray
from pydantic import BaseModel, Field, WithJsonSchema

from tlpipe.bundle import Bundle
from tlpipe.files import read_file
from tlpipe.preprocess.characters import UnreadableText, decode_text
from tlpipe.preprocess.decode import UnreadableImage

Binary = Annotated[bytes, WithJsonSchema({"type": "string", "format": "binary"})]
Sent = Annotated[str, WithJsonSchema({"type": "string", "pattern": r"\S"})]
"""A text to answer for: not a blank one."""
Probability = Annotated[float, Field(ge=0, le=1)]
Place = Annotated[int, Field(ge=0)]
"""Position of a character."""
Row = dict[str, NDArray[Any]]
"""Tensors of one row of a batch, by input or output, without the batch axis."""
Answer = dict[str, Any]
"""What a client gets for one sample; JSON."""
Spend = Callable[[int], None]
"""Told the pixels of an image before it is decoded; raises UnreadableImage where they are too many."""


@dataclass(frozen=True)
class Sample:
    """What one sample is to the graph: a row, or several where a long one is cut into windows."""

    rows: tuple[Row, ...]
    """One at least."""
    about: Any = None
    """What `Reading.answer` has to know of the sample besides the outputs."""


class BadInput(ValueError):  # noqa: N818 - reads as a finding about what was sent
    """Something sent that cannot be used: a sentence, and the HTTP status that goes with it."""

    def __init__(self, sentence: str, status: int = 400) -> None:
        super().__init__(sentence)
        self.status = status


def bad_text(error: UnreadableText) -> BadInput:
    """The refusal of a text that cannot be used."""
    return BadInput(error.detail, 413 if error.reason == "too_long" else 400)


def text_in(raw: bytes) -> str:
    """The text of UTF-8 bytes. Raises BadInput when they are none."""
    try:
        return decode_text(raw)
    except UnreadableText as error:
        raise bad_text(error) from None


def read_bytes(path: Path) -> bytes:
    """The content of a file. Raises BadInput when it cannot be read."""
    try:
        return read_file(path)
    except (OSError, ValueError) as error:
        raise BadInput(str(error)) from None


class Busy(BadInput):
    """The server has no room now: 503, and the client may try again."""

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence, 503)


class Budget:
    """The pixels that the images of one request may have together; its parts are decoded in several threads."""

    def __init__(self, most: int) -> None:
        self.most = self._left = most
        self._measured = 0
        self._lock = Lock()

    def measure(self, pixels: int) -> None:
        """Note an image's pixels as its header has them, and keep it from being decoded. Raises UnreadableImage."""
        self._measured += pixels
        raise UnreadableImage("measured", f"{pixels:,} pixels")

    def require(self) -> None:
        """Raises BadInput when all images that were measured have too many pixels together."""
        if self._measured > self.most:
            raise BadInput(
                f"the images of this request have {self._measured:,} pixels, more than {self.most:,} pixels "
                "together; send fewer at once",
                413,
            )

    def __call__(self, pixels: int) -> None:
        """Take this many. Raises UnreadableImage when there are not so many left, then and ever after."""
        with self._lock:
            self._left -= pixels
            left = self._left
        if left < 0:
            detail = f"the images of this request have more than {self.most:,} pixels together; send fewer at once"
            raise UnreadableImage("too_large", detail)


class Reading(Protocol):
    """The contract of a task in serving."""

    media: ClassVar[tuple[str, ...]]
    """Content types that `decode` takes; `image/*` stands for all of them."""
    summary: ClassVar[str]
    """The answers in a few words, for the OpenAPI document."""
    bodies: ClassVar[Mapping[str, Any]]
    """By content type, the type of what a client sends as one sample: a pydantic model, or a type that has a schema."""
    tokens: ClassVar[bool]
    """Whether the graph gives outputs for every token, (N, L, C), instead of for every row, (N, C)."""
    needs: ClassVar[str | None]
    """File of the bundle besides the graph that samples are read with; None where there is none."""
    endings: ClassVar[frozenset[str]]
    """Of the files in a folder that `load` takes, in lower case; of a .jsonl file each line is a sample."""
    together: ClassVar[int]
    """Samples that one thread answers fastest in one call: one image fills it, and more do not fit its caches; of texts
    a few share each read of the weights."""
    cells_in: ClassVar[tuple[str, ...]]
    """Columns of a table of samples: the first is needed, with the second where there is one (`pair` is not); none =
    tables are not read."""

    def __init__(self, bundle: Bundle, folder: Path, max_pixels: int | None = None) -> None:
        """`max_pixels` takes the place of the bundle's own limit."""

    def decode(self, raw: bytes, media: str, spend: Spend | None = None) -> Sample:
        """One sample as a client sent it. Raises BadInput."""

    def load(self, item: Any) -> Sample:
        """One sample as a Python caller has it (a path, bytes, an object of the field). Raises BadInput."""

    def check(self, feeds: Row) -> None:
        """Raises BadInput for tensors (N, ...) of right type and rank that must not reach the graph."""

    def answer(self, sample: Sample, outputs: Sequence[Row], top: int) -> Answer:
        """The outputs of all rows of a sample, for people."""

    def answer_model(self) -> type[BaseModel]:
        """The model of what `answer` gives, with the names that this bundle has."""

    @property
    def vocabulary(self) -> int:
        """Tokens that there are; 0 where there are none."""

    def example(self) -> Sample:
        """A sample for warming up."""

    def columns(self, every: bool) -> tuple[str, ...]:
        """Names of `cells`."""

    def cells(self, answer: Answer) -> Sequence[Any]:
        """An answer as the cells of a table."""
