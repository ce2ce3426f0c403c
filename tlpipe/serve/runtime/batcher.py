"""Requests that arrive together run together: adaptive micro-batches with a bounded queue."""

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import Annotated

from pydantic import Field

from tlpipe.config import Spec
from tlpipe.serve.reading import Busy
from tlpipe.serve.runtime.jobs import Called, Job, compute, tell
from tlpipe.serve.runtime.session import Tensors

MOST = {"cpu": 4, "cuda": 32}
"""Samples a call on all threads: a CPU's caches do not hold the activations of more, which makes each sample slower."""
WIDTH = {"cpu": 2, "cuda": 1}
"""Calls on all threads that run at one time, when as many full batches wait. On a CPU the threads of a call wait for
one another, and a second call uses what they leave. A GPU runs one call after the other anyway."""
AHEAD = 2
"""Calls on all threads that are begun or handed over at one time, or handed over to lanes that are all busy."""
CALM = 4
"""Calls in a row with too little in hand for the lanes, until all threads work on one call again."""


class Batching(Spec):
    """How requests share a call of the graph."""

    max_batch: Annotated[int, Field(ge=1, le=4096)] | None = None
    """Most samples a call; None = on all threads `MOST` of the device, on one what suits the task (`together`)."""
    max_delay: Annotated[float, Field(ge=0, le=1)] = 0.002
    """Seconds that a sample may wait for others while the graph is idle; a lone client never waits."""
    queue: Annotated[int, Field(ge=1)] = 256
    """Most samples that may wait; more are refused at once."""

    def most(self, device: str) -> int:
        """Samples a call on this device."""
        return self.max_batch or MOST.get(device, MOST["cuda"])


@dataclass(frozen=True)
class Lanes:
    """Where calls run side by side, each on a thread of its own."""

    run: Callable[[Tensors], Tensors]
    count: int
    most: int
    """Samples a call."""
    fewest: int
    """Jobs in hand, running or waiting, from which on calls are begun here."""


class Batcher:
    """Begins jobs in the order of their arrival, those of equal shape together.

    A call on all threads: while it runs, what arrives waits and makes the next batch. One at a time, and a full one is
    handed over at once, so that the graph goes on without a pause; where two run at a time, one begins beside the call
    when two wait: earlier it would only make the first one slower. When the graph is idle a call begins as soon as
    as many samples are there as the call before had (at most `max_batch`), or the oldest has waited for `max_delay`:
    with one client the batch is one and nothing waits; with many, batches are as large as the traffic makes them.

    With lanes, calls on all threads are for few clients: under load they would hold up the lanes, and be held up.
    Once enough is in hand a lane takes what waits as soon as it is free, until there was less for `CALM` calls.
    """

    def __init__(
        self,
        run: Callable[[Tensors], Tensors],
        batching: Batching,
        observe: Callable[[int, float, float], None] = lambda rows, seconds, waited: None,
        width: int = 1,
        lanes: Lanes | None = None,
    ) -> None:
        """A queue for `run`, which `width` threads call, and for `lanes`.

        `observe` is told of each call: samples, seconds in the graph, seconds that the oldest job waited.
        """
        self.batching = batching
        self._most = batching.most("cpu")
        self.waiting = 0
        self._run = run
        self._observe = observe
        self._jobs: deque[Job] = deque()
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._due = False
        self._idle = asyncio.Event()
        self._idle.set()
        self._lanes = lanes
        self._calls = 0
        self._running = 0
        self._calm = CALM
        self._last = 1
        self._closed = False
        self._enough = width * self._most
        self._threads = ThreadPoolExecutor(lanes.count if lanes else width, thread_name_prefix="graph")

    async def submit(self, feeds: Tensors) -> Tensors:
        """The outputs of one job of (N, ...) tensors. Cancel the call to take a waiting job out of the queue.

        Raises:
            Busy: When its samples have no room in the queue.
        """
        rows = len(next(iter(feeds.values())))
        if self._closed or (self.waiting and self.waiting + rows > self.batching.queue):
            raise Busy("the queue is full; try again")
        job = Job(feeds, rows, self._loop.create_future())
        self._jobs.append(job)
        self._idle.clear()
        if self._crowded():
            self._calm = 0
        self.waiting += rows
        self._soon()
        try:
            return await job.answer
        except asyncio.CancelledError:
            if job in self._jobs:
                self._jobs.remove(job)
                self.waiting -= rows
                self._soon()
            raise

    async def close(self) -> None:
        """Take no more jobs, finish those that wait, and end."""
        self._closed = True
        self._soon()
        await self._idle.wait()
        self._threads.shutdown()

    def _soon(self) -> None:
        """Look at the next turn of the loop, with all that arrives in this one, whether it is time to begin a call."""
        if not self._due:
            self._due = True
            self._loop.call_soon(self._begin_what_is_due)

    def _begin_what_is_due(self) -> None:
        self._due = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while (left := self._left()) is not None and left <= 0:
            self._begin()
        if left is not None:
            self._timer = self._loop.call_later(left, self._begin_what_is_due)
        elif not self._jobs and not self._calls:
            self._idle.set()

    def _crowded(self) -> bool:
        return self._lanes is not None and self._running + len(self._jobs) >= self._lanes.fewest

    def _left(self) -> float | None:
        """Seconds until it is time to begin a call; None = not before something happens."""
        if not self._jobs:
            return None
        if self._lanes and self._calm < CALM:
            return 0.0 if self._calls < self._lanes.count + AHEAD else None
        if self._lanes and self._calls:
            return None
        if self._calls >= AHEAD or (self._calls and self.waiting < self._enough):
            return None
        if self._closed or self.waiting >= min(self._last, self._most):
            return 0.0
        return self._jobs[0].arrived + self.batching.max_delay - perf_counter()

    def _begin(self) -> None:
        lanes = self._lanes if self._calm < CALM else None
        jobs = self._take(lanes.most if lanes else self._most)
        self._calls += 1
        self._running += len(jobs)
        run = lanes.run if lanes else self._run
        self._threads.submit(tell, self._loop, partial(self._end, jobs), compute, run, jobs)

    def _end(self, jobs: list[Job], called: Called) -> None:
        self._calls -= 1
        outcomes, started, seconds = called
        self._last = sum(job.rows for job in jobs)
        self._running -= len(jobs)
        self._calm += not self._crowded()
        self._observe(self._last, seconds, started - jobs[0].arrived)
        for job, outcome in zip(jobs, outcomes, strict=True):
            job.settle(outcome)
        self._begin_what_is_due()

    def _take(self, most: int) -> list[Job]:
        """The oldest job and all that fit in a batch of `most` with it; the others keep their places."""
        first = self._jobs.popleft()
        taken, passed, rows = [first], [], first.rows
        while self._jobs and rows < most:
            job = self._jobs.popleft()
            if job.key == first.key and rows + job.rows <= most:
                taken.append(job)
                rows += job.rows
            else:
                passed.append(job)
        self._jobs.extendleft(reversed(passed))
        self.waiting -= rows
        return taken
