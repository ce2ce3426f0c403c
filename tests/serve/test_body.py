"""Bodies: every byte that is held is counted, and given back however the reading ends."""

import asyncio
import zlib
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from starlette.requests import ClientDisconnect, Request

from tlpipe.serve.http.request_body import Bodies
from tlpipe.serve.http.settings import Limits
from tlpipe.serve.reading import BadInput


def request(*chunks: bytes | None, encoding: str = "") -> Request:
    """A request whose body comes in these chunks; None = the client goes away, no last chunk = it stops sending."""
    messages = [
        {"type": "http.disconnect"} if each is None else {"type": "http.request", "body": each, "more_body": True}
        for each in chunks
    ]

    async def receive() -> Any:
        if not messages:
            await asyncio.sleep(60)
        return messages.pop(0)

    headers = [(b"content-encoding", encoding.encode())]
    return Request({"type": "http", "method": "POST", "path": "/", "headers": headers}, receive)


def whole(*chunks: bytes, encoding: str = "") -> Request:
    made = request(*chunks, encoding=encoding)
    receive = made._receive

    async def finite() -> Any:
        message = await receive()
        message["more_body"] = bool(left.pop())
        return message

    left = [False, *[True] * (len(chunks) - 1)]
    return Request(made.scope, finite)


def run(test: Callable[[Bodies], Awaitable[None]], **limits: Any) -> None:
    bodies = Bodies(Limits(**limits))
    asyncio.run(test(bodies))  # type: ignore[arg-type]
    assert bodies.held == 0


def test_what_is_read_is_held_until_its_block_ends():
    async def test(bodies: Bodies) -> None:
        with await bodies.read(whole(b"abc", b"def")) as first:
            with await bodies.read(whole(b"gh")) as second:
                assert (first, second, bodies.held) == (b"abcdef", b"gh", 8)
            assert bodies.held == 6

    run(test)


def test_a_compressed_body_counts_as_what_it_becomes():
    async def test(bodies: Bodies) -> None:
        with await bodies.read(whole(zlib.compress(bytes(1000)), encoding="deflate")) as body:
            assert (len(body), bodies.held) == (1000, 1000)

    run(test)


@pytest.mark.parametrize(
    ("sent", "limits", "status"),
    [
        (whole(b"abc", b"def"), {"body": 5}, 413),
        (whole(b"abc", b"def"), {"held": 5}, 503),
        (request(b"abc"), {"body_seconds": 0.05}, 408),
        (whole(b"abc", encoding="gzip"), {}, 400),
        (whole(zlib.compress(bytes(1000)), encoding="deflate"), {"held": 500}, 503),
    ],
)
def test_nothing_is_held_after_a_refusal(sent: Request, limits: dict[str, Any], status: int):
    async def test(bodies: Bodies) -> None:
        with pytest.raises(BadInput) as caught:
            await bodies.read(sent)
        assert caught.value.status == status

    run(test, **limits)


def test_nothing_is_held_after_a_client_has_gone():
    async def test(bodies: Bodies) -> None:
        with pytest.raises(ClientDisconnect):
            await bodies.read(request(b"abc", None))

    run(test)
