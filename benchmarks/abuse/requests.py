"""Requests that no client should send: `python -m benchmarks.abuse.requests --count 20000`, to a server of its own.

What `benchmarks.serve.fuzz` sends, in rounds of another seed each, to the bundle of the kills' tiny project (or
`--bundle`). No answer may be a 5xx but 503, none may fail to come, and at each round's end a good request must be
answered as before.
"""

import argparse
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks.abuse import kills, record
from benchmarks.abuse.outcome import Tally
from benchmarks.serve.fuzz import fuzz
from benchmarks.serve.process import started

PART, ROUND = "requests", 1000


def run(count: int, seconds: float = 0, bundle: Path | None = None) -> dict[str, Any] | None:
    """Answers by status, and what must not have happened; see `record.in_pieces`."""
    served = bundle or kills.bundle()

    def work(first: int, size: int) -> Tally:
        with started(served, "--no-requests-log") as port:
            seen, bad = fuzz(port, size, seed=first // ROUND)
        return Tally(Counter(seen), [{"case": f"requests from {first} on", "detail": line[:700]} for line in bad])

    return record.in_pieces(PART, count, seconds, ROUND, work)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--seconds", type=float, default=0)
    parser.add_argument("--bundle", type=Path)
    wanted = parser.parse_args()
    sys.exit(record.end(PART, run(wanted.count, wanted.seconds, wanted.bundle)))
