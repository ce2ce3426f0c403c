"""A second session of a graph on a CPU: for calls side by side, each on one thread.

The threads of one call wait for one another after every operator, and whenever one of them is kept from its processor
the others stand still. Calls of one thread each do not, so they answer more samples a second; a lone sample is answered
sooner by all threads.
"""

import math
from dataclasses import dataclass
from time import perf_counter

from tlpipe.cores import usable_cores
from tlpipe.serve.runtime.session import Runtime, Session, Tensors

LARGEST = 128 * 2**20
"""Bytes of a graph up to which it is held twice."""
CALLS = 3
"""Timed calls, of which the fastest counts."""
WORTH = 1.1
"""How many times as fast all threads must answer a lone sample to be used for it."""


@dataclass(frozen=True)
class ParallelSession:
    """Where calls run side by side."""

    session: Session
    """On one thread a call."""
    lanes: int
    """Calls at one time: the threads of the other session."""
    fewest: int
    """Samples in hand from which on this is sooner done with them than the other session, one call after the other."""


def open_parallel_session(model: bytes, runtime: Runtime, session: Session, example: Tensors) -> ParallelSession | None:
    """The second session, warm, measured against `session` on `example`, one sample.

    None on a GPU, with one thread, or for a graph that is too large to be held twice.
    """
    lanes = runtime.threads or usable_cores()
    if session.device != "cpu" or lanes == 1 or len(model) > LARGEST:
        return None
    single = Session(model, runtime.model_copy(update={"threads": 1}))
    gain = _seconds(single, example) / _seconds(session, example)
    return ParallelSession(single, lanes, 1 if gain < WORTH else max(2, math.ceil(gain)))


def _seconds(session: Session, feeds: Tensors) -> float:
    session.run(feeds)
    found = []
    for _ in range(CALLS):
        begun = perf_counter()
        session.run(feeds)
        found.append(perf_counter() - begun)
    return min(found)
