"""The process: a listening socket, signals, TLS, and an end that loses nothing."""

import asyncio
import logging
import signal
import socket
from collections.abc import Callable, Coroutine
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import uvicorn

from tlpipe.config import ConfigError
from tlpipe.serve.http.app import Service, make_app
from tlpipe.serve.http.connections import Loop, Requests
from tlpipe.serve.http.logs import configure
from tlpipe.serve.http.settings import Settings

log = logging.getLogger("tlpipe.serve")


def is_local(host: str) -> bool:
    """Whether only this machine can reach what listens on `host`: an address, or a name that is resolved."""
    try:
        addresses = {str(address[4][0]) for address in socket.getaddrinfo(host or None, None)}
    except OSError:
        return False
    return bool(host) and all(ip_address(address.partition("%")[0]).is_loopback for address in addresses)


def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT; SIGHUP loads the bundle anew.

    Raises:
        ConfigError: Before listening: the bundle, the device, TLS files or the address cannot be used, or others than
            this machine could reach a server that asks for no token.
    """
    if settings.token is None and not settings.insecure and not is_local(settings.host):
        raise ConfigError(
            f"--host {settings.host} can be reached from other machines, and without a token anybody there may use the "
            "model; give --token (or TLPIPE_TOKEN), listen on 127.0.0.1, or say --insecure where something else guards "
            "the door"
        )
    for path in (settings.certificate, settings.key):
        if path is not None and not path.is_file():
            raise ConfigError(f"{path} does not exist; give the certificate and its key as PEM files")
    if (settings.certificate is None) != (settings.key is None):
        raise ConfigError("TLS needs both the certificate and its key (--certificate, --key)")
    configure()
    with asyncio.Runner(loop_factory=Loop) as runner:
        runner.run(_serve(settings))


async def _serve(settings: Settings) -> None:
    service = Service(settings)
    await service.model.load()
    try:
        await Server(settings, service).run()
    except SystemExit:
        raise ConfigError(
            f"{settings.host}:{settings.port} cannot be listened on (is it in use?); give another --port, or 0 for any"
        ) from None


class Server:
    """uvicorn with this service, and its signals.

    It ends in two steps: answering, but not ready, for `drain` seconds; then no new connections, the rest done.
    """

    def __init__(self, settings: Settings, service: Service) -> None:
        """Needs a `Loop` that runs."""
        self.settings, self.service = settings, service
        self.inner = uvicorn.Server(_config(settings, service))
        self.listening: asyncio.Server | None = None
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[Any]] = set()

    async def run(self) -> None:
        """Serve until a signal ends it. Raises SystemExit when the address cannot be listened on."""
        loop = self._loop
        if isinstance(loop, Loop):
            loop.on_listen = self._listens
        try:
            await self.inner.serve()
        finally:
            self.service.draining = True
        if isinstance(loop, Loop):
            log.info("ended", extra={"connections": loop.counts.connections, "requests": loop.counts.requests})

    def _listens(self, server: asyncio.Server) -> None:
        """Say where, and take over the signals, which uvicorn has taken before it listens."""
        self.listening = server
        host, port = server.sockets[0].getsockname()[:2]
        address = f"[{host}]" if ":" in host else host
        scheme = "http" if self.settings.certificate is None else "https"
        log.info("listening", extra={"url": f"{scheme}://{address}:{port}"})
        for name, handler in (("SIGTERM", self.end), ("SIGINT", self.end), ("SIGHUP", self._reload)):
            if hasattr(signal, name):
                self._handle(getattr(signal, name), handler)

    def _handle(self, number: signal.Signals, handler: Callable[[], None]) -> None:
        try:
            self._loop.add_signal_handler(number, handler)
        except NotImplementedError:  # on Windows
            signal.signal(number, lambda *_: self._loop.call_soon_threadsafe(handler))
        except RuntimeError:  # not in the main thread, which alone has signals
            return

    def _reload(self) -> None:
        self._begin(self.service.model.reload())

    def end(self) -> None:
        """Begin to drain; the second time, end at once."""
        if self.service.draining:
            self.inner.should_exit = self.inner.force_exit = True
        else:
            self.service.draining = True
            self._begin(self._drain())

    async def _drain(self) -> None:
        await asyncio.sleep(self.settings.drain)
        if isinstance(self._loop, Loop) and self.listening is not None:
            await self._loop.stop_listening(self.listening)
        # One pass over all sockets: what has already arrived on an idle connection is read before it is closed.
        await asyncio.sleep(0.1)
        self.inner.should_exit = True

    def _begin(self, work: Coroutine[Any, Any, Any]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _config(settings: Settings, service: Service) -> uvicorn.Config:
    def path(value: Path | None) -> str | None:
        return None if value is None else str(value)

    return uvicorn.Config(
        Requests(make_app(service)),
        host=settings.host,
        port=settings.port,
        http="httptools",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=15,
        timeout_graceful_shutdown=int(settings.limits.body_seconds + settings.limits.answer_seconds) + 1,
        ssl_certfile=path(settings.certificate),
        ssl_keyfile=path(settings.key),
    )
