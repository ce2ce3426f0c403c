"""Good requests to a server by its model's task, and tensors of tokens that are good or wrong in what they say."""

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from itertools import pairwise
from typing import Any

import numpy as np
from PIL import Image

Request = tuple[str, bytes, dict[str, str]]
File = tuple[bytes, str]
"""A body or a part, and its content type."""
INFER = "/v2/models/model/infer"
VOCABULARY = (
    "a",
    "fine",
    "film",
    "Ulm",
    "naïve",
    "🙂",
    "日本",
    "e\u0301",
    "\u202e",
    "\x00",
    "x" * 300,
    ".",
    "\n",
    "[SEP]",
)
ODD: tuple[Any, ...] = (-1, 10**6, 2**31, 2**63 - 1, -(2**63), 2**63, 10**30, 0.5, 1e300, True, None, "5", [5], {})
"""Values that are no token."""


def images(generator: random.Random) -> list[File]:
    """Small good images of several formats, with their content types."""
    pixels = np.frombuffer(generator.randbytes(24 * 20 * 3), np.uint8).reshape(24, 20, 3)
    found = []
    for kind in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "JPEG2000"):
        file = BytesIO()
        Image.fromarray(pixels).save(file, kind)
        found.append((file.getvalue(), f"image/{kind.lower()}"))
    return found


def texts(generator: random.Random) -> list[File]:
    """Texts and pairs, plain and as JSON."""
    made = [_text(generator) for _ in range(8)]
    pairs = [{"text": first, "pair": second} for first, second in pairwise(made)]
    return [*_plain(made), *_json([*made, *pairs, {"text": made[0]}])]


def words(generator: random.Random) -> list[File]:
    """Texts and lists of words, plain and as JSON."""
    made = [_text(generator) for _ in range(8)]
    split = [each.split() for each in made]
    return [*_plain(made), *_json([*made, *split, {"text": made[0]}, {"words": split[0]}])]


def questions(generator: random.Random) -> list[File]:
    """Questions about contexts, in either form."""
    made = [(_text(generator), _text(generator)) for _ in range(8)]
    return _json([*made, *({"question": question, "context": context} for question, context in made)])


def _text(generator: random.Random) -> str:
    return " ".join(["a", *generator.choices(VOCABULARY, k=generator.randint(0, 60))])


def _plain(made: Sequence[str]) -> list[File]:
    return [(each.encode(), "text/plain") for each in made]


def _json(made: Sequence[Any]) -> list[File]:
    return [(json.dumps(each).encode(), "application/json") for each in made]


def pixels(generator: random.Random, inputs: Sequence[str]) -> Request:
    """A good tensor request with an image, binary or JSON."""
    height, width = generator.randint(1, 12), generator.randint(1, 12)
    data = generator.randbytes(height * width * 3)
    entry: dict[str, object] = {"name": inputs[0], "shape": [1, height, width, 3], "datatype": "UINT8"}
    if generator.random() < 0.5:
        return INFER, json.dumps({"inputs": [entry | {"data": list(data)}]}).encode(), {}
    return _binary([entry], [data])


def tokens(generator: random.Random, inputs: Sequence[str]) -> Request:
    """A tensor request with tokens, binary or JSON, of which two in three are wrong somewhere."""
    shape = [generator.randint(1, 4), generator.randint(1, 12)]
    rows = {name: np.array([generator.randint(0, 1) for _ in range(shape[0] * shape[1])]) for name in inputs}
    entries: list[dict[str, Any]] = [{"name": name, "shape": shape, "datatype": "INT64"} for name in inputs]
    if generator.random() < 0.3:
        if generator.random() < 0.5:
            generator.choice(list(rows.values()))[0] = generator.choice((-1, 2, 10**6, 2**62))
        return _binary(entries, [row.tobytes() for row in rows.values()])
    for entry in entries:
        entry["data"] = rows[entry["name"]].tolist()
    if generator.random() < 0.7:
        _spoil(generator.choice(entries), generator)
    return INFER, json.dumps({"inputs": entries}).encode(), {}


def _spoil(entry: dict[str, Any], generator: random.Random) -> None:
    """Put something wrong into one input."""
    data, at = entry["data"], generator.randrange(len(entry["data"]))
    count, length = entry["shape"]
    changes: tuple[dict[str, Any], ...] = (
        {"data": [*data[:at], generator.choice(ODD), *data[at + 1 :]]},
        {"data": [data[:at], data[at:]]},  # ragged
        {"data": data[:at], "shape": [1, at]},
        {"data": data * 50, "shape": [count, length * 50]},
        {"shape": generator.choice(([length, count], [count], [count, length, 1], [-1, 1], [2**40, 2**40], [], 0))},
        {"datatype": generator.choice(("INT32", "FP32", "BYTES", 3))},
        {"data": [0] * len(data)},
    )
    entry.update(generator.choice(changes))


def _binary(entries: Sequence[dict[str, Any]], blobs: Sequence[bytes]) -> Request:
    sized = [
        entry | {"parameters": {"binary_data_size": len(blob)}} for entry, blob in zip(entries, blobs, strict=True)
    ]
    head = json.dumps({"inputs": sized}).encode()
    return INFER, b"".join([head, *blobs]), {"Inference-Header-Content-Length": str(len(head))}


def multipart(files: list[File], generator: random.Random) -> Request:
    """One to four of the files as multipart/form-data."""
    parts = [
        b'--fuzz\r\nContent-Disposition: form-data; name="files"; filename="a"\r\nContent-Type: '
        + f"{media}\r\n\r\n".encode()
        + raw
        + b"\r\n"
        for raw, media in generator.choices(files, k=generator.randint(1, 4))
    ]
    return "/predict", b"".join(parts) + b"--fuzz--\r\n", {"content-type": "multipart/form-data; boundary=fuzz"}


HEAVY = "multipart/form-data; boundary=heavy"


def heavy(generator: random.Random) -> Request:
    """64 images of 25 million pixels in a few kilobytes each: more than a request may have."""
    part = b'--heavy\r\nContent-Disposition: form-data; name="files"; filename="a"\r\nContent-Type: image/png\r\n\r\n'
    return "/predict", (part + _black() + b"\r\n") * 64 + b"--heavy--\r\n", {"content-type": HEAVY}


@cache
def _black() -> bytes:
    file = BytesIO()
    Image.new("1", (5000, 5000)).save(file, "PNG")
    return file.getvalue()


@dataclass(frozen=True)
class Kind:
    """What is sent to the models of a task."""

    files: Callable[[random.Random], list[File]]
    tensors: Callable[[random.Random, Sequence[str]], Request]
    mutated: float
    """Share of the requests whose bytes are changed."""


KINDS = {
    "image_classification": Kind(images, pixels, 1),
    "text_classification": Kind(texts, tokens, 0.6),
    "token_classification": Kind(words, tokens, 0.6),
    "question_answering": Kind(questions, tokens, 0.6),
}
