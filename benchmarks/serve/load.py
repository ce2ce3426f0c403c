"""Load for one server on 127.0.0.1: closed loop (clients wait for answers) or open loop (requests come on time).

One thread, non-blocking sockets, a request whose bytes are made once: a client that costs little, as it shares the
processors with what is measured.
"""

import json
import selectors
import socket
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

PATIENCE = 60.0
"""Seconds for an answer; what takes longer has failed."""
MOST_OPEN = 512
"""Most requests on their way in the open loop; later ones are sent late, which counts as latency."""


@dataclass
class Outcome:
    """What came back."""

    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    """Of answers with status 200; in the open loop from when the request was due."""
    failures: Counter[str] = field(default_factory=Counter)

    @property
    def rate(self) -> float:
        """Good answers a second."""
        return len(self.latencies) / self.seconds

    def percentile(self, share: float) -> float:
        """Seconds within which this share of good answers came."""
        return float(np.percentile(self.latencies, share)) if self.latencies else float("nan")


def post(path: str, body: bytes, headers: dict[str, str]) -> bytes:
    """The bytes of a POST request."""
    lines = [f"POST {path} HTTP/1.1", "host: 127.0.0.1", f"content-length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def tensor(image: NDArray[np.uint8]) -> bytes:
    """An Open Inference Protocol request with one image (H, W, 3) as a binary tensor."""
    entry: dict[str, object] = {"name": "image", "shape": [1, *image.shape], "datatype": "UINT8"}
    entry["parameters"] = {"binary_data_size": image.nbytes}
    wanted = [{"name": "probabilities", "parameters": {"binary_data": True}}]
    head = json.dumps({"inputs": [entry], "outputs": wanted}).encode()
    return post("/v2/models/model/infer", head + image.tobytes(), {"inference-header-content-length": str(len(head))})


def closed(port: int, request: bytes, clients: int, seconds: float) -> Outcome:
    """`clients` connections, each with one request on its way at any time."""
    with _Lines(port, request) as lines:
        begun = perf_counter()
        for _ in range(clients):
            lines.ask(_Line(), perf_counter())
        while lines.busy:
            for line in lines.answered(1.0):
                if perf_counter() < begun + seconds:
                    lines.ask(line, perf_counter())
        return lines.outcome(begun)


def opened(port: int, request: bytes, rate: float, seconds: float, seed: int = 0) -> Outcome:
    """Poisson arrivals at `rate` a second, whether earlier ones have been answered or not."""
    gaps = np.random.default_rng(seed).exponential(1 / rate, int(rate * seconds))
    with _Lines(port, request) as lines:
        begun = perf_counter()
        due = deque((begun + np.cumsum(gaps)).tolist())
        free = [_Line() for _ in range(MOST_OPEN)]
        while due or lines.busy:
            now = perf_counter()
            while due and due[0] <= now and free:
                lines.ask(free.pop(), due.popleft())
            pause = max(0.0, due[0] - perf_counter()) if due and free else 1.0
            free.extend(lines.answered(pause))
        return lines.outcome(begun)


class _Line:
    """One connection that is kept, with at most one request on its way."""

    def __init__(self) -> None:
        self.socket: socket.socket | None = None
        self.since = 0.0
        self.unsent = memoryview(b"")
        self.answer = bytearray()

    def whole(self) -> int | None:
        """The status once the answer is complete."""
        end = self.answer.find(b"\r\n\r\n")
        if end < 0:
            return None
        head = bytes(self.answer[:end]).lower()
        length = next((int(line[15:]) for line in head.split(b"\r\n") if line.startswith(b"content-length:")), -1)
        if length < 0:
            raise ConnectionError("an answer without a length")
        return int(head[9:12]) if len(self.answer) >= end + 4 + length else None


class _Lines:
    """All connections of a run, and what came back over them."""

    def __init__(self, port: int, request: bytes) -> None:
        self.busy: set[_Line] = set()
        self._port, self._request = port, request
        self._selector = selectors.DefaultSelector()
        self._all: list[_Line] = []
        self._outcome = Outcome()

    def __enter__(self) -> "_Lines":
        return self

    def __exit__(self, *_: object) -> None:
        for line in self._all:
            self._close(line)
        self._selector.close()

    def ask(self, line: _Line, since: float) -> None:
        """Send the request; `since` is when its latency begins."""
        if line.socket is None:
            line.socket = socket.create_connection(("127.0.0.1", self._port))
            line.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            line.socket.setblocking(False)
            self._selector.register(line.socket, selectors.EVENT_READ, line)
            self._all.append(line)
        line.since, line.unsent = since, memoryview(self._request)
        line.answer.clear()
        self.busy.add(line)
        self._send(line)

    def answered(self, pause: float) -> Iterator[_Line]:
        """Wait for at most `pause` seconds; the lines that are free again."""
        for key, events in self._selector.select(pause):
            line: _Line = key.data
            if events & selectors.EVENT_WRITE:
                self._send(line)
            if events & selectors.EVENT_READ and self._receive(line):
                yield line
        for line in [line for line in self.busy if perf_counter() - line.since > PATIENCE]:
            self._fail(line, "no answer")
            yield line

    def outcome(self, begun: float) -> Outcome:
        """What came back, from `begun` until now."""
        self._outcome.seconds = perf_counter() - begun
        return self._outcome

    def _send(self, line: _Line) -> None:
        door = line.socket
        if door is None:
            return
        try:
            line.unsent = line.unsent[door.send(line.unsent) :]
        except BlockingIOError:
            pass
        except OSError:
            return  # reading tells what happened
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if len(line.unsent) else 0)
        if self._selector.get_key(door).events != events:
            self._selector.modify(door, events, line)

    def _receive(self, line: _Line) -> bool:
        """Read what is there; whether the line is free again."""
        if line.socket is None:
            return False
        try:
            found = line.socket.recv(65536)
            if not found:
                raise ConnectionError("closed")
            line.answer += found
            status = line.whole()
        except OSError as error:
            asked = line in self.busy
            self._fail(line, type(error).__name__)
            return asked
        if status is None:
            return False
        self.busy.discard(line)
        if status == 200:
            self._outcome.latencies.append(perf_counter() - line.since)
        else:
            self._outcome.failures[str(status)] += 1
        return True

    def _fail(self, line: _Line, why: str) -> None:
        if line in self.busy:
            self._outcome.failures[why] += 1
            self.busy.discard(line)
        self._close(line)

    def _close(self, line: _Line) -> None:
        if line.socket is not None:
            self._selector.unregister(line.socket)
            line.socket.close()
            line.socket = None
