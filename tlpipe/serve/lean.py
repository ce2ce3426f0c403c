"""What uvicorn's protocol does more often than a server of large bodies can afford: copies and system calls."""

import asyncio
from typing import Any

from h11._receivebuffer import ReceiveBuffer


class Buffer(ReceiveBuffer):
    """h11's buffer, but what is wanted whole is handed out as it is, where h11 copies it twice."""

    def maybe_extract_at_most(self, count: int) -> bytearray | None:
        """Up to `count` bytes from the front; None when there are none."""
        if count < len(self._data):
            return self._extract(count)
        found, self._data = self._data, bytearray()
        self._next_line_search = self._multiple_lines_search = 0
        return found or None


class Gathering:
    """A transport that sends what is written in one turn of the event loop with one system call.

    uvicorn writes an answer's head and its body one after the other; each would be a packet that wakes the client.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport, self._loop = transport, loop
        self._waiting: list[bytes] = []

    def __getattr__(self, name: str) -> Any:
        """Everything else is the transport's own."""
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Send it soon, after what was written before."""
        if data:
            if not self._waiting:
                self._loop.call_soon(self._send)
            self._waiting.append(data)

    def close(self) -> None:
        """Send what waits, then close."""
        self._send()
        self._transport.close()

    def _send(self) -> None:
        if self._waiting:
            data = b"".join(self._waiting)
            self._waiting.clear()
            self._transport.write(data)
