"""Load for one server on 127.0.0.1: closed loop (clients wait for answers) or open loop (requests come on time)."""

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from time import perf_counter

import numpy as np
from numpy.typing import NDArray


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


class Connection:
    """HTTP/1.1 with keep-alive and nothing else: a client that costs little, as it shares the processors."""

    def __init__(self, port: int, request: bytes) -> None:
        self._port, self._request = port, request
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def send(self) -> int:
        """One request; the status of its answer, which is read whole."""
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        writer.write(self._request)
        head = await reader.readuntil(b"\r\n\r\n")
        lines = head.lower().split(b"\r\n")
        length = next(int(line[15:]) for line in lines if line.startswith(b"content-length:"))
        await reader.readexactly(length)
        return int(head[9:12])

    def close(self) -> None:
        """End the connection."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


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


async def closed(port: int, request: bytes, clients: int, seconds: float) -> Outcome:
    """`clients` connections, each with one request on its way at any time."""
    outcome, end = Outcome(), perf_counter() + seconds

    async def client() -> None:
        connection = Connection(port, request)
        while (begun := perf_counter()) < end:
            await _timed(connection, outcome, begun)
        connection.close()

    return await _run(outcome, [client for _ in range(clients)])


async def opened(port: int, request: bytes, rate: float, seconds: float, seed: int = 0) -> Outcome:
    """Poisson arrivals at `rate` a second, whether earlier ones have been answered or not; at most 512 on their way."""
    outcome, begun = Outcome(), perf_counter()
    due = begun + np.cumsum(np.random.default_rng(seed).exponential(1 / rate, int(rate * seconds)))
    free: asyncio.LifoQueue[Connection] = asyncio.LifoQueue()
    for _ in range(512):
        free.put_nowait(Connection(port, request))

    async def one(at: float) -> None:
        await asyncio.sleep(max(0.0, at - perf_counter()))
        connection = await free.get()
        await _timed(connection, outcome, at)
        free.put_nowait(connection)

    found = await _run(outcome, [partial(one, float(at)) for at in due])
    while not free.empty():
        free.get_nowait().close()
    return found


async def _run(outcome: Outcome, jobs: list[Callable[[], Awaitable[None]]]) -> Outcome:
    begun = perf_counter()
    await asyncio.gather(*(job() for job in jobs))
    outcome.seconds = perf_counter() - begun
    return outcome


async def _timed(connection: Connection, outcome: Outcome, since: float) -> None:
    try:
        status = await asyncio.wait_for(connection.send(), 60)
    except (OSError, EOFError, TimeoutError, StopIteration) as error:
        outcome.failures[type(error).__name__] += 1
        connection.close()
        return
    if status == 200:
        outcome.latencies.append(perf_counter() - since)
    else:
        outcome.failures[str(status)] += 1
