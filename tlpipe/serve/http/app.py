"""The HTTP interface: `/predict` for people, `/v2` for programs, `/metrics` for Prometheus, `/` to try it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from tlpipe import __version__
from tlpipe.cores import usable_cores
from tlpipe.serve.http import inference_protocol as protocol
from tlpipe.serve.http.authentication import Authentication, Observer
from tlpipe.serve.http.connections import CURRENT
from tlpipe.serve.http.hot_swap import Model, Served
from tlpipe.serve.http.metrics import CONTENT_TYPE, Metrics
from tlpipe.serve.http.openapi import document
from tlpipe.serve.http.page import page
from tlpipe.serve.http.request_body import Bodies, Part, parts
from tlpipe.serve.http.responses import HANDLERS, reply
from tlpipe.serve.http.settings import Settings
from tlpipe.serve.reading import Answer, BadInput, Budget, Busy, Reading, Sample, Spend
from tlpipe.serve.runtime.jobs import in_thread
from tlpipe.serve.runtime.load import unstack
from tlpipe.serve.runtime.session import Tensors

T = TypeVar("T")


class Service:
    """The endpoints, and what they share."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.metrics = Metrics()
        self.model = Model(settings, self.metrics)
        self.bodies = Bodies(settings.limits)
        self.draining = False
        self.decoding = 0
        self._pool = ThreadPoolExecutor(settings.runtime.threads or usable_cores(), thread_name_prefix="decode")

    @asynccontextmanager
    async def lifespan(self, app: Starlette) -> AsyncIterator[None]:
        """The server's life, the model having been loaded before; what waits is finished after it."""
        watcher = asyncio.create_task(self.model.watch()) if self.settings.watch else None
        try:
            yield
        finally:
            if watcher is not None:
                watcher.cancel()
            await self.model.close()
            self._pool.shutdown()

    async def live(self, request: Request) -> Response:
        """The process answers."""
        return reply({"live": True})

    async def ready(self, request: Request) -> Response:
        """Requests may be sent; not once the server is about to end."""
        return reply({"ready": not self.draining}, 503 if self.draining else 200)

    async def server(self, request: Request) -> Response:
        """What the server is."""
        return reply({"name": "tlpipe", "version": __version__, "extensions": ["binary_tensor_data"]})

    async def about(self, request: Request) -> Response:
        """What the model takes and gives."""
        with self._named(request) as served:
            return reply(protocol.metadata(served.loaded.bundle, self.settings.name, served.loaded.version))

    async def model_ready(self, request: Request) -> Response:
        """The model answers."""
        with self._named(request):
            return reply({"name": self.settings.name, "ready": not self.draining}, 503 if self.draining else 200)

    async def infer(self, request: Request) -> Response:
        """Tensors in, tensors out."""
        limits = self.settings.limits
        with self._named(request) as served, await self.bodies.read(request) as body:
            length = request.headers.get(protocol.HEADER_LENGTH)
            asked = protocol.Asked(body, length, served.loaded.bundle, limits.items, limits.json_bytes)
            served.loaded.reading.check(dict(asked.feeds))
            outputs = await self._answered(self._infer(served, asked.feeds))
            content, headers = protocol.answer(asked, outputs, self.settings.name, served.loaded.version)
            return Response(content, headers=headers)

    async def _infer(self, served: Served, feeds: Tensors) -> Tensors:
        if served.loaded.session.profile is not None:
            feeds = await in_thread(self._pool, served.loaded.fit, feeds)
        return await served.batcher.submit(feeds)

    async def predict(self, request: Request) -> Response:
        """Files in, answers out: one in the body, or several as multipart/form-data."""
        top = _top(request)
        with self.model.now as served, await self.bodies.read(request) as body:
            content_type = request.headers.get("content-type", "application/octet-stream")
            media = content_type.partition(";")[0].strip().lower()
            many = media == "multipart/form-data"
            samples = parts(body, content_type, self.settings.limits.items) if many else [Part(media, "", body)]
            answers = await self._answered(self._predict(served, samples, top))
            content = {"model": self.settings.name, "version": served.loaded.version, "predictions": answers}
            return reply(content)

    async def _predict(self, served: Served, samples: list[Part], top: int) -> list[Answer]:
        decoded = await self._decoded(served, samples)
        rows = [row for sample in decoded for row in sample.rows]
        if len(rows) > max(self.settings.batching.queue, len(samples)):
            raise BadInput(
                f"the samples are {len(rows):,} windows long; this server takes {self.settings.batching.queue:,}", 413
            )
        batches = ({name: value[None] for name, value in row.items()} for row in rows)
        outputs = iter(await together([served.batcher.submit(batch) for batch in batches]))
        found = [[unstack(next(outputs), 1)[0] for _ in sample.rows] for sample in decoded]
        return [served.loaded.reading.answer(*pair, top) for pair in zip(decoded, found, strict=True)]

    async def _decoded(self, served: Served, samples: list[Part]) -> list[Sample]:
        waiting = served.batcher.waiting + self.decoding
        if waiting and waiting + len(samples) > self.settings.batching.queue:
            raise Busy("the queue is full; try again")
        self.decoding += len(samples)
        try:
            places = [(at, len(samples)) for at in range(1, len(samples) + 1)]
            most = self.settings.limits.pixels or served.loaded.bundle.limits.max_pixels
            budget = Budget(2 * most) if len(samples) > 1 else None
            if budget is not None:
                await in_thread(self._pool, _measure, served.loaded.reading, samples, budget)
            work = [
                in_thread(self._pool, _decode, served.loaded.reading, part, place, budget)
                for part, place in zip(samples, places, strict=True)
            ]
            return await together(work)
        finally:
            self.decoding -= len(samples)

    async def _answered(self, work: Awaitable[T]) -> T:
        """The work's result; cancelled when the client goes away, refused when it takes too long."""
        connection, handler = CURRENT.get(), asyncio.current_task()
        if connection is not None:
            connection.cancel_when_lost(handler)
        try:
            async with asyncio.timeout(self.settings.limits.answer_seconds) as limit:
                return await work
        except TimeoutError:
            if not limit.expired():
                raise
            raise Busy(f"no answer within {self.settings.limits.answer_seconds:g} s; try again") from None
        except asyncio.CancelledError:
            if connection is None or handler is None or not connection.lost:
                raise
            handler.uncancel()
            raise ClientDisconnect from None
        finally:
            if connection is not None:
                connection.cancel_when_lost(None)

    def _named(self, request: Request) -> Served:
        """The model that the URL names. Raises HTTPException 404."""
        served = self.model.now
        name, version = request.path_params["name"], request.path_params.get("version")
        if name != self.settings.name:
            raise HTTPException(404, f"unknown model {name[:80]!r}; this server has {self.settings.name!r}")
        if version not in (None, served.loaded.version):
            raise HTTPException(404, f"unknown version {version[:80]!r}; this server has {served.loaded.version!r}")
        return served

    async def prometheus(self, request: Request) -> Response:
        """Counters and histograms for Prometheus."""
        self.metrics.queue.set(self.model.now.batcher.waiting + self.decoding)
        return Response(self.metrics.text(), headers={"content-type": CONTENT_TYPE})

    async def page(self, request: Request) -> Response:
        """A page to try the model with."""
        return HTMLResponse(*page())

    async def openapi(self, request: Request) -> Response:
        """This interface, described."""
        return reply(document(self.settings, self.model.now.loaded.bundle, self.model.now.loaded.reading))

    def routes(self) -> list[Route]:
        """All endpoints; they are tried in this order, so those that carry the load come first."""
        paths: dict[str, tuple[Callable[[Request], Awaitable[Response]], str]] = {
            "/v2/models/{name}/infer": (self.infer, "POST"),
            "/predict": (self.predict, "POST"),
            "/": (self.page, "GET"),
            "/metrics": (self.prometheus, "GET"),
            "/openapi.json": (self.openapi, "GET"),
            "/v2": (self.server, "GET"),
            "/v2/health/live": (self.live, "GET"),
            "/v2/health/ready": (self.ready, "GET"),
        }
        for model in ("/v2/models/{name}", "/v2/models/{name}/versions/{version}"):
            paths |= {
                model: (self.about, "GET"),
                f"{model}/ready": (self.model_ready, "GET"),
                f"{model}/infer": (self.infer, "POST"),
            }
        return [Route(path, Endpoint(endpoint), methods=[method]) for path, (endpoint, method) in paths.items()]


class Endpoint:
    """An endpoint as an ASGI application: its exceptions are the middleware's, not once more its own."""

    def __init__(self, answer: Callable[[Request], Awaitable[Response]]) -> None:
        self._answer = answer
        self.__name__ = getattr(answer, "__name__", "none")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        response = await self._answer(Request(scope, receive, send))
        await response(scope, receive, send)


def make_app(service: Service) -> Starlette:
    """The ASGI application."""
    app = Starlette(
        routes=service.routes(),
        lifespan=service.lifespan,
        middleware=[Middleware(Observer, service=service), Middleware(Authentication, token=service.settings.token)],
        exception_handlers=HANDLERS,
    )
    app.router.redirect_slashes = False  # a redirect would name the host that the client's own header says
    return app


async def together(work: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """All results, in order. One alone needs no task of its own."""
    return [await work[0]] if len(work) == 1 else await asyncio.gather(*work)


def _measure(reading: Reading, samples: list[Part], budget: Budget) -> None:
    """In a decoding thread: refuse too many pixels before the first is decoded, or others would wait for so many."""
    if "image/*" in reading.media:
        for part in samples:
            with suppress(BadInput):  # what is wrong with a part is said when it is decoded
                _decode(reading, part, (1, 1), budget.measure)
        budget.require()


def _decode(reading: Reading, part: Part, place: tuple[int, int], spend: Spend | None) -> Sample:
    """In a decoding thread: one part, `place` = (which, of how many). Raises BadInput that names it."""
    # RFC 7578, 4.4: a part that does not say what it is is text/plain, as of `curl -F text=...`.
    media = part.media or ("text/plain" if "text/plain" in reading.media else "application/octet-stream")
    try:
        if media not in reading.media and f"{media.partition('/')[0]}/*" not in reading.media:
            raise BadInput(f"content type {media[:80]!r} is not taken; send {' or '.join(reading.media)}", 415)
        return reading.decode(part.raw, media, spend)
    except BadInput as error:
        named = f" ({part.name})" if part.name else ""
        where = f"part {place[0]} of {place[1]}{named}: " if place[1] > 1 else ""
        raise BadInput(f"{where}{error}", error.status) from None


def _top(request: Request) -> int:
    text = request.query_params.get("top", "5")
    if not (text.isascii() and text.isdigit() and len(text) < 7 and int(text)):
        raise BadInput(f"top is {text[:20]!r}; it must be a whole number from 1 on")
    return int(text)
