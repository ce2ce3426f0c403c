"""All of it, offline and bounded: `make abuse` writes benchmarks/results/abuse.json, and fails if a case does.

`--seconds 450` stops after about so long, with exit code 3, and the next call goes on where this one stopped.
"""

import argparse
import sys
import time
from collections.abc import Callable
from typing import Any

from benchmarks.abuse import files, kills, params, record, requests

Part = Callable[[int, float], dict[str, Any] | None]
PARTS: dict[str, tuple[Part, int]] = {
    params.PART: (params.run, 10_000),
    files.PART: (files.run, 2000),
    kills.PART: (kills.run, 100),
    requests.PART: (requests.run, 20_000),
}
"""By name: what runs it, given its cases and seconds, and how many cases."""
ALL = "all"
"""Names the state with the exit codes of the parts that are at their end."""


def main() -> int:
    """Exit code 1 where a case ended in a traceback, hung, was refused at length, differed or got stuck."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=0, help="stop after so long, to go on later; 0 = to the end")
    for name, (_, count) in PARTS.items():
        parser.add_argument(f"--{name}", type=int, default=count)
    wanted, begun = parser.parse_args(), time.monotonic()
    ended: dict[str, int] = record.load(ALL) or {}
    for name, (run, _) in PARTS.items():
        if name not in ended:
            left = max(1.0, wanted.seconds - (time.monotonic() - begun)) if wanted.seconds else 0
            ended[name] = record.end(name, run(vars(wanted)[name], left))
            if ended[name] == record.UNFINISHED:
                return record.UNFINISHED
            record.save(ALL, ended)
    record.forget(ALL)
    return max(ended.values())


if __name__ == "__main__":
    sys.exit(main())
