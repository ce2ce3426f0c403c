"""A request's body: whole, in time, within limits; and split into the samples that it holds."""

import asyncio
import json
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from email.message import Message
from typing import Any

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request

from tlpipe.serve.http.settings import Limits
from tlpipe.serve.reading import BadInput, Busy

ENCODINGS = {"gzip": zlib.MAX_WBITS | 16, "deflate": zlib.MAX_WBITS, "identity": 0, "": 0}


class Bodies:
    """Reads bodies, and knows how many bytes of them are held."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.held = 0

    async def read(self, request: Request) -> "Held":
        """The body, decompressed, held until the block of a `with` ends.

        Raises:
            BadInput: Too large, too slow, compressed in a way that is not known.
            Busy: When too many bytes of bodies are held, this one's included.
        """
        limit = self.limits.body
        encoding = request.headers.get("content-encoding", "").strip().lower()
        if encoding not in ENCODINGS:
            raise BadInput(f"content encoding {encoding!r} is not known; send gzip, deflate or none", 415)
        if _length(request) > limit:
            raise BadInput(f"the body is larger than the {limit:,} bytes allowed", 413)
        chunks: list[bytes] = []
        try:
            await self._receive(request, chunks)
            body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
            if ENCODINGS[encoding]:
                body = _inflate(body, ENCODINGS[encoding], limit)
                self._hold(len(body) - sum(map(len, chunks)))
        except BaseException:
            self.held -= sum(map(len, chunks))
            raise
        return Held(self, body)

    async def _receive(self, request: Request, chunks: list[bytes]) -> None:
        """Put the body into `chunks`, each counted as it arrives."""
        limit, size = self.limits.body, 0
        try:
            async with asyncio.timeout(self.limits.body_seconds):
                more = True
                while more:
                    message = await request.receive()
                    if message["type"] == "http.disconnect":
                        raise ClientDisconnect
                    chunk, more = message.get("body", b""), message.get("more_body", False)
                    if not chunk:
                        continue
                    size += len(chunk)
                    if size > limit:
                        raise BadInput(f"the body is larger than the {limit:,} bytes allowed", 413)
                    self._hold(len(chunk))
                    chunks.append(chunk)
        except TimeoutError:
            raise BadInput(f"the body did not arrive within {self.limits.body_seconds:g} s", 408) from None

    def _hold(self, size: int) -> None:
        if self.held + size > self.limits.held:
            raise Busy("the server holds too many bytes of requests; try again")
        self.held += size


class Held:
    """A body, counted among those that are held as long as a `with` block needs it."""

    def __init__(self, bodies: Bodies, body: bytes) -> None:
        self._bodies, self._body = bodies, body

    def __enter__(self) -> bytes:
        return self._body

    def __exit__(self, *_: object) -> None:
        self._bodies.held -= len(self._body)


def _length(request: Request) -> int:
    text = request.headers.get("content-length", "0")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else 0


def _inflate(body: bytes, window: int, limit: int) -> bytes:
    unpacker = zlib.decompressobj(window)
    try:
        plain = unpacker.decompress(body, limit)
        if unpacker.unconsumed_tail:
            raise BadInput(f"the body is larger than the {limit:,} bytes allowed once decompressed", 413)
    except zlib.error as error:
        raise BadInput(f"the body cannot be decompressed: {error}") from None
    if not unpacker.eof:
        raise BadInput("the body cannot be decompressed: it ends too early")
    return plain


def parse_json(raw: bytes, limit: int) -> Any:
    """A JSON document, strictly. Raises BadInput, also for NaN, for depth without end and for too many bytes."""
    if len(raw) > limit:
        raise BadInput(f"the JSON has {len(raw):,} bytes, {limit:,} are allowed; send tensors as binary data", 413)
    try:
        return DECODER.decode(raw.decode(json.detect_encoding(raw), "surrogatepass"))
    except RecursionError:
        raise BadInput("the JSON is nested too deeply") from None
    except ValueError as error:
        raise BadInput(f"the body is not JSON: {error}") from None


def _refuse_constant(word: str) -> None:
    raise ValueError(f"{word} is not a JSON number")


DECODER = json.JSONDecoder(parse_constant=_refuse_constant)


@dataclass
class Part:
    """One part of a multipart body."""

    media: str
    """Its content type; empty where it does not say."""
    name: str
    raw: bytes


def parts(body: bytes, content_type: str, most: int) -> list[Part]:
    """The parts of a `multipart/form-data` body. Raises BadInput when it is not one, or has more than `most`."""
    boundary = parse_options_header(content_type)[1].get(b"boundary", b"")
    if not boundary:
        raise BadInput("the Content-Type of a multipart body must name its boundary")
    collected = _Collector(most)
    try:
        parser = MultipartParser(boundary, collected.callbacks())
        parser.write(body)
        parser.finalize()
    except (FormParserError, UnicodeDecodeError) as error:
        raise BadInput(f"the multipart body cannot be read: {error}") from None
    if not collected.parts or not collected.ended:
        raise BadInput("the multipart body ends too early, or has no part")
    return collected.parts


class _Collector:
    def __init__(self, most: int) -> None:
        self.parts: list[Part] = []
        self.ended = False
        self._most = most
        self._headers: dict[str, str] = {}
        self._field = self._value = b""
        self._chunks: list[bytes] = []

    def callbacks(self) -> Any:
        names = ("part_begin", "part_data", "part_end", "header_field", "header_value", "header_end", "end")
        found: dict[str, Callable[..., None]] = {f"on_{name}": getattr(self, f"on_{name}") for name in names}
        return found

    def on_part_begin(self) -> None:
        if len(self.parts) >= self._most:
            raise BadInput(f"more than {self._most} parts in one request", 413)
        self._headers, self._chunks = {}, []

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        self._chunks.append(data[start:end])

    def on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def on_header_end(self) -> None:
        self._headers[self._field.decode("latin-1").lower()] = self._value.decode("latin-1")
        self._field = self._value = b""

    def on_part_end(self) -> None:
        about = Message()
        about["content-disposition"] = self._headers.get("content-disposition", "")
        name = about.get_filename() or str(about.get_param("name", "", "content-disposition") or "")
        media = self._headers.get("content-type", "").partition(";")[0].strip().lower()
        self.parts.append(Part(media, name[:200], b"".join(self._chunks)))

    def on_end(self) -> None:
        self.ended = True
