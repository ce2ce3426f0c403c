"""Load for a long time: no request may fail, and the memory may not grow."""

import time
from collections import Counter

from benchmarks.serve.contenders import Running
from benchmarks.serve.load import Outcome, closed

STRETCH = 10.0
"""Seconds of load between two looks at the memory, with tensors and with JPEG files in turns."""
GROWTH = 0.1
"""Most growth of the memory from the first quarter's end to the end, as a share."""


def soak(server: Running, clients: int, seconds: float) -> int:
    """0 when nothing failed and the memory stayed, else 1; a line a stretch."""
    end, kinds = time.monotonic() + seconds, [server.tensors, server.files]
    failures: Counter[str] = Counter()
    memory: list[int] = []
    answered = 0
    while time.monotonic() < end:
        outcome: Outcome = closed(server.port, kinds[len(memory) % 2], clients, min(STRETCH, seconds))
        failures += outcome.failures
        answered += len(outcome.latencies)
        memory.append(server.memory())
        print(f"{outcome.rate:.0f} images/s, {memory[-1] / 2**20:.0f} MiB, failures {dict(failures)}", flush=True)
    growth = max(memory[len(memory) // 4 :]) / memory[len(memory) // 4] - 1
    print(f"{answered:,} answers, {failures.total()} failures, memory grew by {growth:.1%} after the first quarter")
    return int(bool(failures) or growth > GROWTH)
