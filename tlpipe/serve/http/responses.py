"""What the server answers when all went well, and what it answers to every way in which a request can fail."""

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from tlpipe.serve.reading import BadInput

GONE = 499
"""The client has closed its connection; nobody will see this status but the log and the metrics."""


def reply(content: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A JSON answer."""
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    body = text.encode("utf-8", "backslashreplace")
    return Response(body, status, headers, media_type="application/json")


async def _bad_input(request: Request, error: Exception) -> Response:
    status = getattr(error, "status", 400)
    return reply({"error": str(error)}, status, {"retry-after": "1"} if status == 503 else None)


async def _http(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    return reply({"error": error.detail}, error.status_code, dict(error.headers or {}))


async def _client_gone(request: Request, error: Exception) -> Response:
    return Response(status_code=GONE)


async def _fault(request: Request, error: Exception) -> Response:
    return reply({"error": "the server has a fault; its log says which"}, 500)


HANDLERS: Mapping[Any, Callable[[Request, Exception], Awaitable[Response]]] = {
    BadInput: _bad_input,
    HTTPException: _http,
    ClientDisconnect: _client_gone,
    Exception: _fault,
}
"""What answers an exception, by its class."""
