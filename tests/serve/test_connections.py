"""Connections: deadlines, limits, and an end that loses nobody; over real sockets, and with a fake transport."""

import ast
import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from tlpipe.serve.http import connections
from tlpipe.serve.http.authentication import Authentication
from tlpipe.serve.http.connections import MOST_AHEAD, MOST_HEAD, Connection, Counts, Loop, Requests

ROOT = Path(__file__).resolve().parents[2]
GET = b"GET / HTTP/1.1\r\nhost: a\r\n"
PARSERS = ("h11", "httptools")
POST = b"POST / HTTP/1.1\r\nhost: a\r\n"


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Answers with the bytes of the body that it has read; /early before it has read any."""
    if scope["type"] != "http":
        return
    body, more = b"", not scope["path"].startswith("/early")
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body, more = body + message.get("body", b""), message.get("more_body", False)
    answer = str(len(body)).encode()
    await send(
        {"type": "http.response.start", "status": 200, "headers": [(b"content-length", str(len(answer)).encode())]}
    )
    await send({"type": "http.response.body", "body": answer})


def with_server(talk: Callable[..., Awaitable[Any]], app: Any = echo) -> Any:
    """What `talk(address, loop, listening, server)` gives while uvicorn serves `app`."""

    async def main() -> Any:
        loop, listening = asyncio.get_running_loop(), asyncio.get_running_loop().create_future()
        assert isinstance(loop, Loop)
        loop.on_listen = listening.set_result
        server = uvicorn.Server(
            uvicorn.Config(Requests(app), port=0, http="httptools", ws="none", lifespan="off", log_config=None)
        )
        serving = asyncio.create_task(server.serve())
        server_socket = await listening
        try:
            return await talk(server_socket.sockets[0].getsockname(), loop, server_socket, server)
        finally:
            server.should_exit = server.force_exit = True
            await serving

    with asyncio.Runner(loop_factory=Loop) as runner:
        return runner.run(main())


def exchange(raw: bytes, trickle: bytes = b"", seconds: float = 20) -> tuple[bytes, float]:
    """All that comes back until the server ends the connection, and after how long; `trickle` is sent meanwhile."""

    async def talk(address: Any, loop: Loop, *_: Any) -> tuple[bytes, float]:
        reader, writer = await asyncio.open_connection(*address)
        begun, answer = loop.time(), bytearray()

        async def read() -> None:
            with suppress(ConnectionError):  # a connection that is closed before all has been read is reset
                while part := await reader.read(100_000):
                    answer.extend(part)

        reading = asyncio.create_task(read())
        with suppress(ConnectionError):
            writer.write(raw)
            while not reading.done() and loop.time() < begun + seconds:
                writer.write(trickle)
                await asyncio.sleep(0.02)
        await asyncio.wait_for(reading, 20)
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
        return bytes(answer), loop.time() - begun

    return with_server(talk)  # type: ignore[no-any-return]


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.3)
    monkeypatch.setattr(connections, "LAST_SECONDS", 0.3)


@pytest.mark.parametrize(
    ("raw", "trickle", "answers"),
    [
        (b"", b"", 0),
        (b"GET / HT", b"", 0),
        (GET, b"x: y\r\n", 0),
        (GET + b"\r\n" + GET, b"x: y\r\n", 1),
        (POST + b"content-length: 5\r\n\r\nhello" + GET, b"x: y\r\n", 1),
        (b"POST /early HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000\r\n\r\n", b"a", 1),
        (b"POST /early HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n", b"1\r\na\r\n", 1),
    ],
)
@pytest.mark.usefixtures("impatient")
def test_a_client_that_takes_its_time_is_cut_off(raw: bytes, trickle: bytes, answers: int):
    answer, seconds = exchange(raw, trickle)
    assert answer.count(b"HTTP/1.1 200 OK") == answers
    assert seconds < 10


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\r\n\r\n", 400),
        (b"GET\r\n\r\n\r\n\r\n", 400),
        (POST + b"content-length: -1\r\n\r\n", 400),
        (POST + b"content-length: 5\r\ncontent-length: 6\r\n\r\nhello", 400),
        (POST + b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n" + GET + b"\r\n", 400),
        (POST + b"transfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n" + GET + b"\r\n", 400),
        (POST + b"transfer-encoding: chunked\r\n\r\nZZ\r\n\r\n", 400),
        (GET + b"x : y\r\n\r\n", 400),
        (b"CONNECT evil.example:443 HTTP/1.1\r\nhost: evil.example\r\n\r\n", 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        ("GET /größe HTTP/1.1\r\nhost: a\r\n\r\n".encode(), 400),
        (b"GET http://[evil HTTP/1.1\r\nhost: a\r\n\r\n", 400),
        (GET + b"x: " + b"a" * (MOST_HEAD + 1), 431),
        (GET + b"x: y\r\n" * MOST_HEAD, 431),
        (b"GET /" + b"a" * MOST_HEAD, 431),
    ],
)
def test_what_is_no_request_gets_one_answer_and_the_end(raw: bytes, status: int):
    answer, _ = exchange(raw)
    if len(raw) > 300_000 and not answer:
        return  # a connection that is closed before all has been read may lose the answer on its way
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert answer.count(b"HTTP/1.1 ") == 1
    assert b'{"error": ' in answer
    assert b"connection: close" in answer


@pytest.mark.parametrize("size", [0, 1, 70_000, 3_000_000])
def test_bodies_and_large_heads_arrive_whole(size: int):
    head = b"POST / HTTP/1.1\r\nhost: a\r\nx: " + b"a" * 15_000 + b"\r\nconnection: close\r\ncontent-length: "
    answer, _ = exchange(head + str(size).encode() + b"\r\n\r\n" + b"b" * size)
    assert answer.endswith(b"\r\n\r\n" + str(size).encode())


@pytest.mark.parametrize("more", [b"", b"expect: 100-continue\r\n", b"upgrade: h2c\r\n", b"upgrade: websocket\r\n"])
def test_a_body_arrives_whatever_else_a_client_would_like(more: bytes):
    upgrade = b", upgrade" if more.startswith(b"upgrade") else b""
    head = POST + b"connection: close" + upgrade + b"\r\ncontent-length: 5\r\n" + more
    answer, _ = exchange(head + b"\r\nhello")
    assert answer.startswith(b"HTTP/1.1 100 " if more.startswith(b"expect") else b"HTTP/1.1 200 ")
    assert answer.endswith(b"\r\n\r\n5")


def test_a_body_that_cannot_be_read_is_refused():
    """A head that arrives in two pieces keeps its wish for another protocol, and the parser drops the body."""

    async def talk(address: Any, loop: Loop, *_: Any) -> bytes:
        reader, writer = await asyncio.open_connection(*address)
        for part in (POST + b"connection: upgrade\r\nupgrade: h2c\r\ncontent-", b"length: 5\r\n\r\nhello"):
            writer.write(part)
            await asyncio.sleep(0.1)
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
        return answer

    answer = with_server(talk, Authentication(echo, None))
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"a body that comes with an Upgrade header cannot be read" in answer


def test_pipelined_requests_are_answered_in_order():
    bodies = b"".join(POST + b"content-length: %d\r\n\r\n" % size + b"b" * size for size in (1, 22, 0))
    answer, _ = exchange(bodies + GET + b"connection: close\r\n\r\n")
    assert [part.partition(b"\r\n\r\n")[2] for part in answer.split(b"HTTP/1.1 200 OK")[1:]] == [
        b"1",
        b"22",
        b"0",
        b"0",
    ]


def test_a_client_that_sends_far_ahead_of_its_answers_is_cut_off():
    begun = asyncio.Event()

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        begun.set()
        await receive()
        await receive()  # the client has gone

    async def talk(address: Any, loop: Loop, *_: Any) -> bytes:
        reader, writer = await asyncio.open_connection(*address)
        writer.write(GET + b"\r\n" + GET)
        await begun.wait()
        answer = asyncio.ensure_future(reader.read())
        with suppress(OSError):
            for _ in range(2 * MOST_AHEAD // 6000):
                writer.write(b"x: y\r\n" * 1000)
                await asyncio.sleep(0)
        with suppress(ConnectionError):
            return await asyncio.wait_for(answer, 20)
        return b""

    assert with_server(talk, slow) == b""


def test_connections_that_the_kernel_holds_when_listening_ends_are_accepted():
    async def talk(address: Any, loop: Loop, listening: asyncio.Server, server: uvicorn.Server) -> list[bytes]:
        # The loop has no turn before listening ends: the kernel alone knows of these connections.
        clients = [socket.create_connection(address, timeout=60) for _ in range(20)]
        for client in clients:
            client.sendall(GET + b"connection: close\r\n\r\n")
        await loop.stop_listening(listening)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address, timeout=60)
        await asyncio.sleep(0.1)
        server.should_exit = True
        answers = []
        for client in clients:
            with client, client.makefile("rb") as answer:
                answers.append(await asyncio.to_thread(answer.read))
        assert loop.counts.connections == loop.counts.requests == len(clients)
        return answers

    assert all(text.startswith(b"HTTP/1.1 200 ") and text.endswith(b"0") for text in with_server(talk))


def test_at_the_end_a_client_that_has_not_spoken_is_heard_out_and_an_idle_one_is_not():
    async def talk(address: Any, loop: Loop, listening: asyncio.Server, server: uvicorn.Server) -> list[bytes]:
        idle, half, silent = [await asyncio.open_connection(*address) for _ in range(3)]
        idle[1].write(GET + b"\r\n")
        await idle[0].readuntil(b"\r\n\r\n0")
        half[1].write(GET)
        await asyncio.sleep(0.1)
        server.should_exit = True
        assert await idle[0].read() == b""
        half[1].write(b"connection: close\r\n\r\n")
        silent[1].write(GET + b"connection: close\r\n\r\n")
        answers = [await reader.read() for reader, _ in (half, silent)]
        for _, writer in (idle, half, silent):
            writer.close()
            await writer.wait_closed()
        return answers

    assert all(answer.startswith(b"HTTP/1.1 200 ") for answer in with_server(talk))


def test_a_handler_whose_client_goes_away_is_cancelled():
    states: list[str] = []
    begun = asyncio.Event()

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        connection = connections.CURRENT.get()
        assert connection is not None
        connection.cancel_when_lost(asyncio.current_task())
        begun.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            states.append("cancelled")
            raise

    async def talk(address: Any, loop: Loop, *_: Any) -> None:
        _, writer = await asyncio.open_connection(*address)
        writer.write(GET + b"\r\n")
        await begun.wait()
        writer.close()
        while not states:
            await asyncio.sleep(0.01)

    with_server(talk, slow)
    assert states == ["cancelled"]


class Remembering:
    """A transport."""

    def __init__(self) -> None:
        self.done: list[Any] = []

    def write(self, data: bytes) -> None:
        self.done.append(data)

    def close(self) -> None:
        self.done.append("closed")

    def is_closing(self) -> bool:
        return "closed" in self.done


class Inner(asyncio.Protocol):
    transport: Any

    def connection_made(self, transport: Any) -> None:
        self.transport = transport


def run(test: Callable[[Connection, Any], Awaitable[None]]) -> list[Any]:
    async def whole() -> list[Any]:
        inner, transport = Inner(), Remembering()
        connection = Connection(inner, Counts())
        connection.connection_made(transport)  # type: ignore[arg-type]
        connection.begin(False)
        await test(connection, inner.transport)
        connection.connection_lost(None)
        return transport.done

    return asyncio.run(whole())


def test_what_is_written_in_one_turn_is_sent_at_once_and_in_order():
    async def test(connection: Connection, transport: Any) -> None:
        transport.write(b"head")
        transport.write(b"")
        transport.write(b"body")
        await asyncio.sleep(0)
        transport.write(b"next")
        await asyncio.sleep(0)

    assert run(test) == [b"headbody", b"next"]


@pytest.mark.parametrize("last", [b"last", b""])
def test_what_waits_is_sent_before_the_end_and_nothing_after_it(last: bytes):
    async def test(connection: Connection, transport: Any) -> None:
        transport.write(last)
        assert not transport.is_closing()
        transport.close()
        assert transport.is_closing()
        transport.write(b"late")
        await asyncio.sleep(0)

    assert run(test) == [*([last] if last else []), "closed"]


def test_of_uvicorn_and_its_parsers_only_what_is_public_is_used():
    texts = (path.read_text(encoding="utf-8") for path in (ROOT / "tlpipe").rglob("*.py"))
    named = (text for text in texts if any(package in text for package in ("uvicorn", *PARSERS)))
    used = {name for text in named for name in server_names(text)}
    assert {"Config", "Server"} <= used <= {"uvicorn", *uvicorn.__all__}


def server_names(text: str) -> Iterator[str]:
    """Of the packages that serve HTTP: attributes that are used, and a dotted name for any other import."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "uvicorn":
            yield node.attr
        elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in ("uvicorn", *PARSERS):
            yield f"{node.module}.{node.names[0].name}"
        elif isinstance(node, ast.Import):
            yield from (name.name for name in node.names if name.name.partition(".")[0] in ("uvicorn", *PARSERS))
        elif isinstance(node, ast.ClassDef):
            bases = (ast.unparse(base) for base in node.bases)
            yield from (f"class {node.name}({base})" for base in bases if base.startswith("uvicorn."))
