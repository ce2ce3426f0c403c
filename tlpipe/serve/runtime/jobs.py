"""What one call of the graph does: jobs in, an outcome for each."""

import asyncio
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate
from time import perf_counter
from typing import Any, TypeVar, cast

import numpy as np

from tlpipe.serve.runtime.session import Tensors

T = TypeVar("T")
Key = tuple[Any, ...]
Called = tuple[list[Tensors | Exception], float, float]
"""An outcome a job, when the call began, and the seconds that it took."""


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

    def settle(self, outcome: Tensors | Exception) -> None:
        """Give the answer to who waits for it; nobody does once it has been cancelled."""
        if self.answer.done():
            return
        if isinstance(outcome, Exception):
            self.answer.set_exception(outcome)
        else:
            self.answer.set_result(outcome)


def tell(loop: asyncio.AbstractEventLoop, end: Callable[[Any], None], work: Callable[..., T], *arguments: Any) -> None:
    """In a thread: do the work, and call `end` with its result on the loop, which is woken once.

    A future of an executor that asyncio wraps wakes it as well, and takes three callbacks more.
    """
    result = work(*arguments)
    with suppress(RuntimeError):  # the loop has been closed: nobody waits
        loop.call_soon_threadsafe(end, result)


async def in_thread(pool: ThreadPoolExecutor, work: Callable[..., T], *arguments: Any) -> T:
    """The result of work in a thread of the pool, whose exceptions are raised here."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[T] = loop.create_future()

    def end(outcome: tuple[T | None, Exception | None]) -> None:
        result, error = outcome
        if answer.done():
            return
        if error is not None:
            answer.set_exception(error)
        else:
            answer.set_result(cast(T, result))

    pool.submit(tell, loop, end, _outcome, work, *arguments)
    return await answer


def _outcome(work: Callable[..., T], *arguments: Any) -> tuple[T | None, Exception | None]:
    try:
        return work(*arguments), None
    except Exception as error:
        return None, error


def compute(run: Callable[[Tensors], Tensors], jobs: list[Job]) -> Called:
    """One call of the graph for all `jobs`, whose keys are equal; blocks, so it belongs into a thread of its own."""
    started = perf_counter()
    return _outcomes(run, jobs), started, perf_counter() - started


def _outcomes(run: Callable[[Tensors], Tensors], jobs: list[Job]) -> list[Tensors | Exception]:
    """One outcome a job. When a shared call fails, each job is tried alone."""
    try:
        outputs = run(_together(jobs))
    except Exception as error:
        return [error] if len(jobs) == 1 else [each for job in jobs for each in _outcomes(run, [job])]
    if len(jobs) == 1:
        return [outputs]
    ends = accumulate(job.rows for job in jobs)
    return [
        {name: value[end - job.rows : end] for name, value in outputs.items()}
        for job, end in zip(jobs, ends, strict=True)
    ]


def _together(jobs: Iterable[Job]) -> Tensors:
    first, *others = (job.feeds for job in jobs)
    if not others:
        return first
    return {name: np.concatenate([value, *(each[name] for each in others)]) for name, value in first.items()}
