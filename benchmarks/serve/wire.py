"""Requests that no HTTP library sends: heads that contradict themselves, are too large, or name another host."""

import random
import socket
import time
from contextlib import suppress

WIRE = "wire"
"""In place of a request's path: its body is all that goes over a connection of its own."""
SECONDS = 20.0
"""Within which the server must end a connection: its own deadline for a head is 10 s."""
HOST = b"evil.example"
PATHS = (
    b"/",
    b"/predict",
    b"/predict/",
    b"/v2/",
    b"/v2/models/model/infer/",
    b"//x",
    b"/%00",
    b"/..%2f..",
    b"/v2?a=%ff",
)
FRAMES = (
    b"content-length: 5\r\ntransfer-encoding: chunked", b"transfer-encoding: chunked\r\ncontent-length: 0",
    b"content-length: 5\r\ncontent-length: 6", b"content-length: -1", b"content-length: 1e3",
    b"content-length: 99999999999999999999999", b"transfer-encoding: gzip", b"transfer-encoding: chunked, chunked",
    b"transfer-encoding: chunked", b"content-length: +5", b"content-length: 0x5", b"content-length : 5",
    b"content-length: 5",
)  # fmt: skip
BODIES = (
    b"hello", b"0\r\n\r\n", b"5\r\nhello\r\n0\r\n\r\n", b"ffffffffffffffff\r\nhello", b"-5\r\nhello\r\n",
    b"5;a=b\r\nhello\r\n0\r\nx: y\r\n\r\n",
    b"0\r\n\r\nGET /v2 HTTP/1.1\r\nhost: evil.example\r\n\r\n",
)  # fmt: skip
ODD = (
    b"x: a\r\n b",
    b"x\x00: y",
    b": y",
    b"x: \x00",
    b"x: a\rb",
    b"expect: 100-continue",
    b"upgrade: websocket\r\nconnection: upgrade",
)


def hostile(generator: random.Random) -> bytes:
    """One request; it asks for the connection's end, so that the answer is all that comes."""
    lines = [
        generator.choice((b"GET ", b"POST ", b"PUT ", b"BREW ", b"")) + generator.choice(PATHS) + b" HTTP/1.1",
        b"host: " + HOST,
        b"connection: close",
    ]
    kind = generator.randrange(4)
    if kind == 0:
        lines.append(generator.choice(FRAMES))
    elif kind == 1:
        size = generator.choice((1_000, 15_000, 17_000, 60_000, 200_000))
        lines += [b"x: " + b"a" * size] if generator.random() < 0.5 else [b"x: y"] * (size // 6)
    elif kind == 2:
        lines.append(generator.choice(ODD))
    head = b"\r\n".join(lines) + b"\r\n\r\n"
    if kind == 3:
        at = generator.randrange(len(head))
        head = (
            head[:at]
            + generator.randbytes(generator.randint(1, 4))
            + head[at + generator.randint(0, 3) :]
            + b"\r\n\r\n"
        )
    return head + (generator.choice(BODIES) if kind in (0, 3) else b"")


def exchange(port: int, raw: bytes) -> tuple[str, str]:
    """(status, or what else came of it; what must not have happened, empty where nothing did)."""
    begun, answer = time.monotonic(), b""
    with socket.create_connection(("127.0.0.1", port), timeout=SECONDS) as connection:
        try:
            with suppress(ConnectionError):  # it may end before it has read all
                connection.sendall(raw)
            with suppress(ConnectionError):
                while part := connection.recv(65536):
                    answer += part
        except TimeoutError:
            return "open", f"the connection is open after {time.monotonic() - begun:.0f} s: {raw[:300]!r}"
    return _judged(raw, answer)


def _judged(raw: bytes, answer: bytes) -> tuple[str, str]:
    if not answer:
        return "closed", ""
    status = answer[9:12].decode("latin-1")
    head = answer.partition(b"\r\n\r\n")[0].lower()
    if HOST in head:
        return status, f"the answer names the client's host: {raw[:300]!r}: {answer[:300]!r}"
    if status >= "500" and status not in ("501", "503"):
        return status, f"{status}: {raw[:300]!r}: {answer[:300]!r}"
    both = b"content-length: 5\r\ntransfer-encoding: chunked" in raw or b"chunked\r\ncontent-length: 0" in raw
    if both and (status != "400" or answer.count(b"HTTP/1.1 ") != 1):
        return status, f"two lengths of a body are answered: {raw[:300]!r}: {answer[:300]!r}"
    if len(raw) > 40_000 and status == "200":
        return status, f"a head of {len(raw):,} bytes is answered: {raw[:100]!r}"
    return status, ""
