"""Requests that arrive together run together: adaptive micro-batches with a bounded queue."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property, partial
from time import perf_counter
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from tlpipe.config import Spec
from tlpipe.serve.reading import Busy
from tlpipe.serve.session import Tensors

Key = tuple[Any, ...]
Called = tuple[list[Tensors | Exception], float, float]
"""An outcome a job, when the call began, and the seconds that it took."""
MOST = {"cpu": 4, "cuda": 32}
"""Samples a call: a CPU's caches do not hold the activations of more, which makes each sample slower."""
LANES = {"cpu": 2, "cuda": 1}
"""Calls that run side by side when as many full batches wait. On a CPU the threads of one call wait for one another
after every operator, and whenever one of them is kept from its processor, by this server's own HTTP or by a neighbour,
the others stand still; a second call uses what they leave. A GPU runs one call after the other anyway."""
AHEAD = 2
"""Calls that are begun or handed over at one time."""


class Batching(Spec):
    """How requests share a call of the graph."""

    max_batch: Annotated[int, Field(ge=1, le=4096)] | None = None
    """Most samples a call; None = `MOST` of the device."""
    max_delay: Annotated[float, Field(ge=0, le=1)] = 0.002
    """Seconds that a sample may wait for others while the graph is idle; a lone client never waits."""
    queue: Annotated[int, Field(ge=1)] = 256
    """Most samples that may wait; more are refused at once."""

    def most(self, device: str) -> int:
        """Samples a call on this device."""
        return self.max_batch or MOST.get(device, MOST["cuda"])


@dataclass(eq=False)
class Job:
    """One request's tensors, and where its answer goes."""

    feeds: Tensors
    rows: int
    answer: asyncio.Future[Tensors]
    arrived: float = field(default_factory=perf_counter)

    @cached_property
    def key(self) -> Key:
        """What jobs of one call must share: the tensors' types, and their shapes but for the batch axis."""
        return tuple((name, value.dtype, value.shape[1:]) for name, value in sorted(self.feeds.items()))


class Batcher:
    """Begins jobs in the order of their arrival, those of equal shape together.

    While a call runs, what arrives waits and makes the next batch. With one lane a full one is handed over at once, so
    that the graph goes on without a pause; with two, one begins beside the call when two wait: earlier it would only
    make the first one slower. When the graph is idle a call begins as soon as
    as many samples are there as the call before had (at most `max_batch`), or the oldest has waited for `max_delay`:
    with one client the batch is one and nothing waits; with many, batches are as large as the traffic makes them.
    """

    def __init__(
        self,
        run: Callable[[Tensors], Tensors],
        batching: Batching,
        observe: Callable[[int, float, float], None] = lambda rows, seconds, waited: None,
        lanes: int = 1,
    ) -> None:
        """A queue for `run`, which `lanes` threads call.

        `observe` is told of each call: samples, seconds in the graph, seconds that the oldest job waited.
        """
        self.batching = batching
        self._most = batching.most("cpu")
        self.waiting = 0
        self._run = run
        self._observe = observe
        self._jobs: deque[Job] = deque()
        self._arrival = asyncio.Event()
        self._calls = 0
        self._last = 1
        self._closed = False
        self._enough = lanes * self._most
        self._threads = ThreadPoolExecutor(lanes, thread_name_prefix="graph")
        self._worker = asyncio.create_task(self._work())

    async def submit(self, feeds: Tensors) -> Tensors:
        """The outputs of one job of (N, ...) tensors. Cancel the call to take a waiting job out of the queue.

        Raises:
            Busy: When its samples have no room in the queue.
        """
        rows = len(next(iter(feeds.values())))
        if self._closed or (self.waiting and self.waiting + rows > self.batching.queue):
            raise Busy("the queue is full; try again")
        job = Job(feeds, rows, asyncio.get_running_loop().create_future())
        self._jobs.append(job)
        self.waiting += rows
        self._arrival.set()
        try:
            return await job.answer
        except asyncio.CancelledError:
            if job in self._jobs:
                self._jobs.remove(job)
                self.waiting -= rows
            raise

    async def close(self) -> None:
        """Take no more jobs, finish those that wait, and end."""
        self._closed = True
        self._arrival.set()
        await self._worker
        self._threads.shutdown()

    async def _work(self) -> None:
        while self._jobs or self._calls or not self._closed:
            left = self._left()
            if left is None or left > 0:
                await self._wait(left)
            else:
                self._begin(self._take())

    def _left(self) -> float | None:
        """Seconds until it is time to begin a call; None = not before something happens."""
        if not self._jobs or self._calls >= AHEAD or (self._calls and self.waiting < self._enough):
            return None
        if self._closed or self.waiting >= min(self._last, self._most):
            return 0.0
        return self._jobs[0].arrived + self.batching.max_delay - perf_counter()

    def _begin(self, jobs: list[Job]) -> None:
        self._calls += 1
        call = asyncio.get_running_loop().run_in_executor(self._threads, self._call, jobs)
        call.add_done_callback(partial(self._end, jobs))

    def _end(self, jobs: list[Job], call: "asyncio.Future[Called]") -> None:
        self._calls -= 1
        self._arrival.set()
        outcomes, started, seconds = call.result()
        self._last = sum(job.rows for job in jobs)
        self._observe(self._last, seconds, started - jobs[0].arrived)
        for job, outcome in zip(jobs, outcomes, strict=True):
            _settle(job.answer, outcome)

    async def _wait(self, seconds: float | None) -> None:
        self._arrival.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._arrival.wait()

    def _take(self) -> list[Job]:
        """The oldest job and all that fit in its batch; the others keep their places."""
        taken: list[Job] = []
        left: deque[Job] = deque()
        rows = 0
        for job in self._jobs:
            if not taken or (job.key == taken[0].key and rows + job.rows <= self._most):
                taken.append(job)
                rows += job.rows
            else:
                left.append(job)
        self._jobs = left
        self.waiting -= rows
        return taken

    def _call(self, jobs: list[Job]) -> Called:
        started = perf_counter()
        return self._outcomes(jobs), started, perf_counter() - started

    def _outcomes(self, jobs: list[Job]) -> list[Tensors | Exception]:
        """In a thread of the graph: one outcome a job. When a shared call fails, each job is tried alone."""
        try:
            outputs = self._run(_together(jobs))
        except Exception as error:
            return [error] if len(jobs) == 1 else [each for job in jobs for each in self._outcomes([job])]
        ends = np.cumsum([job.rows for job in jobs])
        return [
            {name: value[end - job.rows : end] for name, value in outputs.items()}
            for job, end in zip(jobs, ends, strict=True)
        ]


def _together(jobs: Iterable[Job]) -> Tensors:
    first, *others = (job.feeds for job in jobs)
    if not others:
        return first
    return {name: np.concatenate([value, *(each[name] for each in others)]) for name, value in first.items()}


def _settle(answer: asyncio.Future[Tensors], outcome: Tensors | Exception) -> None:
    if answer.done():
        return
    if isinstance(outcome, Exception):
        answer.set_exception(outcome)
    else:
        answer.set_result(outcome)
