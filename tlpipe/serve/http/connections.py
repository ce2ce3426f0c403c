"""Connections with deadlines: how long a client may take, and how much it may send before it asks for anything.

uvicorn has no deadline for a request's head, nor for a body that goes on after its answer, and its fast parser no limit
of a head. All three are kept here, between asyncio's transport and whatever protocol reads HTTP: `Connection` sees the
bytes, `Requests` sees where requests begin and end.
"""

import asyncio
import json
import re
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from contextvars import ContextVar
from enum import Enum
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEAD_SECONDS = 10.0
"""For a request's head to arrive."""
LAST_SECONDS = 5.0
"""The same once the server ends: a connection that was accepted and has sent nothing yet is still heard out.
Also for the rest of a body that was answered before its end."""
MOST_HEAD = 64 * 2**10
"""Bytes of a head, of which the application takes less; what is larger is not read to its end."""
MOST_AHEAD = 2**20
"""Bytes that a client may send ahead of the answer to a request that is complete."""
NO_HTTP = (
    "this is not a request of HTTP/1.1: its first line or a header is broken, or it has both Content-Length and "
    "Transfer-Encoding"
)
TOO_LARGE = f"the request's path and headers have more than {MOST_HEAD:,} bytes"


class State(Enum):
    """What a connection waits for."""

    HEAD = "a request's head"
    BODY = "the rest of a body, or the application"
    ANSWER = "the answer to a complete request"
    REST = "the rest of a body that has been answered"
    IDLE = "nothing"


class Counts:
    """Connections and requests so far; of TLS, connections whose handshake is done."""

    def __init__(self) -> None:
        self.connections = 0
        self.requests = 0


class Connection(asyncio.Protocol):
    """A client's connection, between asyncio's transport and the protocol that reads HTTP; closed when it is late."""

    def __init__(self, inner: asyncio.Protocol, counts: Counts) -> None:
        self._inner, self._counts = inner, counts
        self._loop = asyncio.get_running_loop()
        self._state, self._allowance = State.HEAD, MOST_HEAD
        self._late: asyncio.TimerHandle | None = None
        self._refused = False
        self.lost = False
        """Whether the client has gone."""
        self._handler: asyncio.Task[Any] | None = None
        self._waiting: list[bytes] = []

    # what asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to count the time."""
        self._transport: Any = transport
        self._counts.connections += 1
        self._enter(State.HEAD, HEAD_SECONDS)
        self._inner.connection_made(Transport(transport, self))  # type: ignore[arg-type]  # all that is used of one

    def data_received(self, data: bytes) -> None:
        """Hand it on."""
        if self._state is State.IDLE:
            self._enter(State.HEAD, HEAD_SECONDS)
        if self._state is State.HEAD and self._allowance == MOST_HEAD:
            data = without_upgrade(data)
        CURRENT.set(self)  # the task that handles a request inherits it
        self._inner.data_received(data)
        if self._state is not State.BODY:
            self._allowance -= len(data)
            if self._allowance < 0:
                # a head that is complete begins its request in this turn of the loop, before this
                self._loop.call_soon(self._check)

    def eof_received(self) -> bool | None:
        """Hand it on."""
        return self._inner.eof_received()

    def pause_writing(self) -> None:
        """Hand it on."""
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        """Hand it on."""
        self._inner.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop counting; nobody waits for the answer any more."""
        self._enter(State.IDLE)
        self.lost = True
        self._inner.connection_lost(exc)
        if self._handler is not None:
            self._handler.cancel()

    # what the application says

    def begin(self, has_body: bool) -> None:
        """A request's head is complete."""
        self._counts.requests += 1
        self._enter(State.BODY if has_body else State.ANSWER)

    def complete(self) -> None:
        """So is its body."""
        self._enter(State.ANSWER)

    def answered(self) -> None:
        """The client is owed nothing more: what it still sends of its body has little time."""
        if self._state is State.BODY:
            self._enter(State.REST, LAST_SECONDS)
        elif self._state is State.ANSWER:
            self._enter(State.IDLE)

    def cancel_when_lost(self, handler: asyncio.Task[Any] | None) -> None:
        """Cancel this task when the client goes away, which it may have done; None = no task."""
        self._handler = handler
        if self.lost and handler is not None:
            handler.cancel()

    # what the protocol that reads HTTP does

    def write(self, data: bytes) -> None:
        """Send it at the end of this turn of the loop: an answer's head and body are one system call, one packet."""
        if not data or self._transport.is_closing():
            return
        if self._state in (State.HEAD, State.REST):
            # no application has been asked: the parser refuses what it cannot read
            self._refused, data = True, refusal(400, NO_HTTP)
        if not self._waiting:
            self._loop.call_soon(self._send)
        self._waiting.append(data)

    def close(self) -> None:
        """Send what waits, then close; a client that still owes a head, or the rest of one, has little time first."""
        self._send()
        if self._state in (State.HEAD, State.REST) and not self._refused and not self._transport.is_closing():
            self._enter(self._state, LAST_SECONDS)
        else:
            self._transport.close()

    def _send(self) -> None:
        if self._waiting:
            data = b"".join(self._waiting)
            self._waiting.clear()
            self._transport.write(data)

    def _enter(self, state: State, seconds: float | None = None) -> None:
        self._state = state
        self._allowance = MOST_AHEAD if state is State.ANSWER else MOST_HEAD
        if self._late is not None:
            self._late.cancel()
        self._late = None if seconds is None else self._loop.call_later(seconds, self._transport.close)

    def _check(self) -> None:
        if self._allowance >= 0 or self._state in (State.BODY, State.REST) or self._transport.is_closing():
            return
        if self._state is State.HEAD:
            self._transport.write(refusal(431, TOO_LARGE))
        self._transport.close()


CURRENT: ContextVar[Connection | None] = ContextVar("connection", default=None)
"""The connection whose request the running task handles; None under another server."""


class Transport:
    """What the protocol that reads HTTP takes for its connection's transport."""

    def __init__(self, transport: asyncio.BaseTransport, connection: Connection) -> None:
        self._transport, self.write, self.close = transport, connection.write, connection.close

    def __getattr__(self, name: str) -> Any:
        """Everything else is the transport's own."""
        return getattr(self._transport, name)


class Requests:
    """Tells connections where requests begin and end."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        connection = CURRENT.get()
        if scope["type"] != "http" or connection is None:
            await self.app(scope, receive, send)
            return

        async def received() -> Message:
            message = await receive()
            if message["type"] == "http.request" and not message.get("more_body", False):
                connection.complete()
            return message

        async def sent(message: Message) -> None:
            await send(message)
            if message["type"] == "http.response.body" and not message.get("more_body", False):
                connection.answered()

        connection.begin(any(name in FRAMING and value != b"0" for name, value in scope["headers"]))
        await self.app(scope, received, sent)


UPGRADE = re.compile(rb"(?i)\r\nupgrade:[^\r\n]*")
FRAMING = frozenset({b"content-length", b"transfer-encoding"})
"""Headers that say where a body ends."""


def without_upgrade(data: bytes) -> bytes:
    """A head and what follows it, without the wish for another protocol, which servers may ignore (RFC 9110, 7.8).

    Java's client has that wish by default, and httptools gives a request that has it no body. A head that is not whole
    in `data` stays as it is: the application refuses what has such a wish and a body.
    """
    end = data.find(b"\r\n\r\n")
    return UPGRADE.sub(b"", data[:end]) + data[end:] if end > 0 and b"pgrade" in data[:end] else data


def refusal(status: int, sentence: str) -> bytes:
    """A whole answer to what never became a request."""
    body = json.dumps({"error": sentence}).encode()
    reason = {400: "Bad Request", 431: "Request Header Fields Too Large"}[status]
    head = f"HTTP/1.1 {status} {reason}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
    return f"{head}x-content-type-options: nosniff\r\nconnection: close\r\n\r\n".encode() + body


if sys.platform == "win32":
    EventLoop = asyncio.ProactorEventLoop
else:
    EventLoop = asyncio.SelectorEventLoop


class Loop(EventLoop):
    """An event loop whose servers have connections with deadlines."""

    def __init__(self) -> None:
        super().__init__()
        self.counts = Counts()
        self.on_listen: Callable[[asyncio.Server], None] = lambda server: None
        """Called with each server that has begun to listen."""
        self._factory: Callable[[], Connection] | None = None
        self._ssl: Any = None

    async def create_server(self, protocol_factory: Any, *arguments: Any, **options: Any) -> asyncio.Server:
        """As asyncio's."""
        self._factory, self._ssl = lambda: Connection(protocol_factory(), self.counts), options.get("ssl")
        server = await super().create_server(self._factory, *arguments, **options)
        self.on_listen(server)
        return server

    async def stop_listening(self, server: asyncio.Server) -> None:
        """Stop listening; let in whom the kernel has let in meanwhile.

        Closing a listening socket resets the connections that the kernel holds for it. One that is completed between
        the last accept and the close is still lost: nothing but the kernel knows of it.
        """
        pending: list[socket.socket] = []
        copies = [listener.dup() for listener in server.sockets]
        server.close()
        for listener in copies:
            with listener:
                pending += _pending(listener)
        await asyncio.gather(*map(self._accept_client, pending))

    async def _accept_client(self, client: socket.socket) -> None:
        client.setblocking(False)
        if self._factory is not None:
            with suppress(OSError):  # it has gone, or its TLS handshake failed
                await self.connect_accepted_socket(self._factory, client, ssl=self._ssl)


def _pending(listener: socket.socket) -> Iterator[socket.socket]:
    while True:
        try:
            yield listener.accept()[0]
        except ConnectionAbortedError:
            continue
        except OSError:  # there is no other, or no room for one
            return
