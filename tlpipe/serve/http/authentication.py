"""Around every request: who may come in, and what is noted about it."""

import hmac
import json
import logging
from time import perf_counter
from typing import Any, Protocol

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tlpipe.serve.http.connections import FRAMING
from tlpipe.serve.http.metrics import Metrics
from tlpipe.serve.http.settings import Settings

log = logging.getLogger("tlpipe.serve.requests")
OPEN = frozenset({"/", "/openapi.json", "/v2/health/live", "/v2/health/ready"})
"""What needs no token: probes have none, and the page asks for it."""
LARGEST_HEAD = 16 * 2**10
"""Bytes of a request's path, query and headers."""
NOSNIFF = (b"x-content-type-options", b"nosniff")
"""No browser is to take an answer for anything but what it says it is."""


class Watched(Protocol):
    """What the observer needs of the service."""

    settings: Settings
    metrics: Metrics
    draining: bool


class Authentication:
    """Refuses requests without the token, where there is one, and heads that are too large or of unclear length."""

    def __init__(self, app: ASGIApp, token: str | None) -> None:
        self.app = app
        self.expected = f"Bearer {token}".encode() if token is not None else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
        elif problem := _problem(scope):
            await _refuse(send, *problem, (b"connection", b"close"))
        elif self.expected is None or scope["path"] in OPEN or self._knows(scope):
            await self.app(scope, receive, send)
        else:
            sentence = "send the header `Authorization: Bearer <token>` with this server's token"
            await _refuse(send, 401, sentence, (b"www-authenticate", b"Bearer"))

    def _knows(self, scope: Scope) -> bool:
        given = dict(scope["headers"]).get(b"authorization", b"")
        return hmac.compare_digest(given, self.expected or b"")


class Observer:
    """Counts and times every request, logs it, and asks clients to leave once the server is about to end."""

    def __init__(self, app: ASGIApp, service: Watched) -> None:
        self.app, self.service = app, service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started, status = perf_counter(), 500

        async def sent(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                more = (NOSNIFF, (b"connection", b"close")) if self.service.draining else (NOSNIFF,)
                message = {**message, "headers": [*message["headers"], *more]}
            await send(message)

        try:
            await self.app(scope, receive, sent)
        finally:
            self._note(scope, status, perf_counter() - started)

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        # The endpoint's name, never the path: clients choose paths, and every new label is kept for ever.
        endpoint = getattr(scope.get("endpoint"), "__name__", "none")
        self.service.metrics.request(endpoint, status, seconds)
        if self.service.settings.requests_log:
            log.info("request", extra=_line(scope, endpoint, status, seconds))


def _problem(scope: Scope) -> tuple[int, str] | None:
    """(status, sentence) for a head that no honest client sends; None for all others."""
    size, framed = len(scope["raw_path"]) + len(scope["query_string"]), set()
    for name, value in scope["headers"]:
        size += len(name) + len(value) + 4  # the colon, the space and the end of the line
        if name in FRAMING:
            framed.add(name)
    if size > LARGEST_HEAD:
        return 431, f"the request's path and headers have {size:,} bytes; at most {LARGEST_HEAD:,} are taken"
    if len(framed) and any(name == b"upgrade" for name, _ in scope["headers"]):
        return (
            400,
            "a body that comes with an Upgrade header cannot be read; leave the header out, this is HTTP/1.1 alone",
        )
    if len(framed) > 1:
        # Two proxies may take either, and so disagree on where the next request begins (RFC 9112, 6.1).
        return 400, "the request has both Content-Length and Transfer-Encoding; send one of them"
    return None


async def _refuse(send: Send, status: int, sentence: str, header: tuple[bytes, bytes]) -> None:
    body = json.dumps({"error": sentence}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()), header]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _line(scope: Scope, endpoint: str, status: int, seconds: float) -> dict[str, Any]:
    return {
        "method": scope["method"],
        "path": scope["path"][:200],
        "endpoint": endpoint,
        "status": status,
        "seconds": round(seconds, 6),
        "client": (scope.get("client") or ("",))[0],
    }
