"""How soon a perfect batch server would answer: the same arrivals, the calls' measured times, nothing else to do."""

import heapq
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

LONG = 100_000
"""Arrivals of the simulation, so that its percentiles are those of the queue and not of one draw."""


def best_p99(calls: Mapping[int, float], rate: float, lanes: int = 1) -> float:
    """Seconds: the 99th percentile of the best perfect server under Poisson arrivals at `rate` a second.

    A perfect server begins a call as soon as one of its `lanes` is free and something waits, with all that waits up to
    its limit, in order of arrival, and answers the moment a call ends. Its limit is the best of `calls`, which has
    seconds by samples a call, all lanes being busy. No server with these calls, in order of arrival, can be expected
    to do better than about this: what it would have to do less of is the calls themselves.
    """
    arrivals = np.cumsum(np.random.default_rng(0).exponential(1 / rate, LONG))
    return min(float(np.percentile(latencies(arrivals, calls, most, lanes), 99)) for most in calls)


def latencies(
    arrivals: NDArray[np.float64], calls: Mapping[int, float], most: int, lanes: int = 1
) -> NDArray[np.float64]:
    """Seconds from arrival to answer (N,) of ascending `arrivals` (N,), at most `most` a call, `lanes` at a time."""
    sizes = sorted(calls)
    seconds = np.interp(np.arange(most + 1), sizes, [calls[size] for size in sizes])
    times, ends = arrivals.tolist(), np.empty(len(arrivals))
    at, free = 0, [0.0] * lanes
    while at < len(times):
        begin, count = max(heapq.heappop(free), times[at]), 1
        while count < most and at + count < len(times) and times[at + count] <= begin:
            count += 1
        ends[at : at + count] = begin + seconds[count]
        heapq.heappush(free, begin + seconds[count])
        at += count
    return ends - arrivals
