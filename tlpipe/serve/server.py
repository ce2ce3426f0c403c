"""The process: a listening socket, signals, TLS, and an end that loses nothing."""

import asyncio
import logging
import signal
import socket
from collections.abc import Iterator
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path
from time import monotonic
from types import FrameType
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from tlpipe.config import ConfigError
from tlpipe.serve.app import Service, make_app
from tlpipe.serve.lean import Buffer, Gathering
from tlpipe.serve.logs import configure
from tlpipe.serve.settings import Settings

log = logging.getLogger("tlpipe.serve")
HEAD_SECONDS = 10.0
"""For a request's head to arrive on a new connection."""
LAST_SECONDS = 5.0
"""The same once the door is closed: a connection that was accepted and has sent nothing yet is still heard out.
Also for the rest of a body that was answered before its end."""


class State(ServerState):
    """uvicorn's counts and one more."""

    accepted = 0
    """Connections so far; with TLS, once the handshake is done."""


class Patient(H11Protocol):
    """uvicorn's protocol, but a connection whose request's head does not arrive in time is closed.

    So is one that goes on sending a body after it has been answered, as an error is. Bodies are copied less often, and
    an answer's head and body are sent at once.
    """

    server_state: State
    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Begin to count the time."""
        super().connection_made(Gathering(transport, self.loop))  # type: ignore[arg-type]  # all that is used of one
        self.conn._receive_buffer = Buffer()
        self.server_state.accepted += 1
        self._late = self.loop.call_later(HEAD_SECONDS, self.transport.close)

    def data_received(self, data: bytes) -> None:
        """Stop counting once the head is complete; count again when only a part of the next one is there."""
        super().data_received(data)
        waiting = self.conn.their_state is h11.IDLE and not self.transport.is_closing()
        if waiting and self._late is None:
            self._late = self.loop.call_later(HEAD_SECONDS, self.transport.close)
        elif not waiting and not self._answered_early():
            self._stop()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP; a body that turns out to be none has its request answered by nobody else."""
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete:
            cycle.disconnected = True
            cycle.message_event.set()
            if cycle.response_started:
                self.transport.close()
                return
        super().send_400_response(msg)

    def on_response_complete(self) -> None:
        """The client is owed nothing more: what it still sends of its body has little time."""
        super().on_response_complete()
        if self._answered_early() and not self.transport.is_closing():
            self._stop()
            self._late = self.loop.call_later(LAST_SECONDS, self.transport.close)

    def _answered_early(self) -> bool:
        """Whether the answer went out before the request's body was complete."""
        return self.conn.their_state is h11.SEND_BODY and self.cycle.response_complete

    def shutdown(self) -> None:
        """The door is closed: an idle connection ends, one that owes a head, or the rest of one, has little time."""
        if self._late is None:
            super().shutdown()
        else:
            self._stop()
            self._late = self.loop.call_later(LAST_SECONDS, self.transport.close)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop counting."""
        self._stop()
        super().connection_lost(exc)

    def _stop(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None


class Server(uvicorn.Server):
    """Ends in two steps: answering, but not ready, for `drain` seconds; then no new connections, the rest done."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self.server_state: State = State()
        self.service = service
        self._until: float | None = None

    async def startup(self, sockets: Any = None) -> None:
        """Listen, and say where."""
        await super().startup(sockets)
        host, port = self.servers[0].sockets[0].getsockname()[:2]
        scheme = "https" if self.config.is_ssl else "http"
        address = f"[{host}]" if ":" in host else host
        log.info("listening", extra={"url": f"{scheme}://{address}:{port}"})

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """SIGTERM and SIGINT: begin to drain; the second time, end at once."""
        if self._until is None:
            self.service.draining = True
            self._until = monotonic() + self.service.settings.drain
        else:
            super().handle_exit(sig, frame)

    async def on_tick(self, counter: int) -> bool:
        """Whether it is time to end."""
        over = self._until is not None and monotonic() >= self._until
        return await super().on_tick(counter) or over

    async def shutdown(self, sockets: Any = None) -> None:
        """Let in who stands at the door and close it, hear those out who are inside, then end."""
        self.service.draining = True
        await asyncio.gather(*(self._enter(guest) for guest in self._close()))
        # One pass over all sockets: what has already arrived on an idle connection is read before it is closed.
        await asyncio.sleep(0.1)
        await super().shutdown(sockets)
        log.info(
            "ended", extra={"connections": self.server_state.accepted, "requests": self.server_state.total_requests}
        )

    def _close(self) -> list[socket.socket]:
        """Close the listening sockets; the connections that the kernel held for them.

        Closing one resets those. A connection that is completed between the last accept and the close is still lost:
        nothing but the kernel knows of it.
        """
        waiting: list[socket.socket] = []
        for server in self.servers:
            doors = [listener.dup() for listener in server.sockets]
            server.close()
            for door in doors:
                with door:
                    waiting += _waiting(door)
        return waiting

    async def _enter(self, guest: socket.socket) -> None:
        guest.setblocking(False)

        def protocol() -> asyncio.Protocol:
            return Patient(self.config, self.server_state, self.lifespan.state)

        with suppress(OSError):  # it has gone, or its TLS handshake failed
            await asyncio.get_running_loop().connect_accepted_socket(protocol, guest, ssl=self.config.ssl)


def _waiting(door: socket.socket) -> Iterator[socket.socket]:
    while True:
        try:
            yield door.accept()[0]
        except ConnectionAbortedError:
            continue
        except OSError:  # there is no other, or no room for one
            return


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
    asyncio.run(_serve(settings))


async def _serve(settings: Settings) -> None:
    service = Service(settings)
    await service.model.load()
    server = Server(_config(settings, service), service)
    loop = asyncio.get_running_loop()
    reloads: set[asyncio.Task[bool]] = set()

    def reload() -> None:
        task = loop.create_task(service.model.reload())
        reloads.add(task)
        task.add_done_callback(reloads.discard)

    if hasattr(signal, "SIGHUP"):
        loop.add_signal_handler(signal.SIGHUP, reload)
    try:
        await server.serve()
    except SystemExit:
        raise ConfigError(
            f"{settings.host}:{settings.port} cannot be listened on (is it in use?); give another --port, or 0 for any"
        ) from None


def _config(settings: Settings, service: Service) -> uvicorn.Config:
    def path(value: Path | None) -> str | None:
        return None if value is None else str(value)

    return uvicorn.Config(
        make_app(service),
        host=settings.host,
        port=settings.port,
        http=Patient,
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
