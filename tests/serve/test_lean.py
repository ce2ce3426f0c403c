"""The connection's cheaper parts do what those of h11 and asyncio do."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import pytest
from h11._receivebuffer import ReceiveBuffer

from tlpipe.serve.lean import Buffer, Gathering


def test_the_buffer_gives_what_h11s_gives():
    generator = np.random.default_rng(0)
    ours, theirs = Buffer(), ReceiveBuffer()
    for _ in range(2000):
        if generator.random() < 0.4:
            piece = generator.choice([b"a: b\r\n", b"\r\n", b"body", b"x" * 50])
            ours += piece
            theirs += piece
        do = str(generator.choice(["maybe_extract_at_most", "maybe_extract_next_line", "maybe_extract_lines"]))
        arguments = (int(generator.integers(1, 60)),) if do == "maybe_extract_at_most" else ()
        assert getattr(ours, do)(*arguments) == getattr(theirs, do)(*arguments)
        assert (len(ours), bytes(ours)) == (len(theirs), bytes(theirs))


def test_what_is_wanted_whole_is_not_copied():
    buffer = Buffer()
    buffer += b"x" * 1000
    inside = buffer._data
    assert buffer.maybe_extract_at_most(5000) is inside
    assert buffer.maybe_extract_at_most(5000) is None


class Transport:
    """Remembers what is done with it."""

    def __init__(self) -> None:
        self.done: list[Any] = []

    def write(self, data: bytes) -> None:
        self.done.append(data)

    def close(self) -> None:
        self.done.append("closed")

    def is_closing(self) -> bool:
        return "closed" in self.done


def run(test: Callable[[Transport, Gathering], Awaitable[None]]) -> list[Any]:
    async def whole() -> list[Any]:
        transport = Transport()
        await test(transport, Gathering(transport, asyncio.get_running_loop()))
        return transport.done

    return asyncio.run(whole())


def test_what_is_written_in_one_turn_is_sent_at_once_and_in_order():
    async def test(transport: Transport, gathering: Gathering) -> None:
        gathering.write(b"head")
        gathering.write(b"")
        gathering.write(b"body")
        assert transport.done == []
        await asyncio.sleep(0)
        gathering.write(b"next")
        await asyncio.sleep(0)

    assert run(test) == [b"headbody", b"next"]


@pytest.mark.parametrize("last", [b"last", b""])
def test_what_waits_is_sent_before_the_end(last: bytes):
    async def test(transport: Transport, gathering: Gathering) -> None:
        gathering.write(last)
        assert not gathering.is_closing()
        gathering.close()
        assert gathering.is_closing()
        await asyncio.sleep(0)

    assert run(test) == [*([last] if last else []), "closed"]
