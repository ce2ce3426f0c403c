"""All of it, offline and bounded: `make abuse` writes benchmarks/results/abuse.json, and fails if a case does."""

import argparse
import json
import platform
import sys
from pathlib import Path

from benchmarks.abuse import files, params
from tlpipe.cores import usable_cores

RESULTS = Path(__file__).resolve().parents[1] / "results/abuse.json"


def main() -> int:
    """Exit code 1 where a case ended in a traceback, hung, or was refused at length."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--params", type=int, default=10_000, help="mutated params files")
    parser.add_argument("--files", type=int, default=2000, help="damaged files")
    wanted = parser.parse_args()
    found = {
        "python": platform.python_version(),
        "params": params.run(wanted.params, min(4, usable_cores())),
        "files": files.run(wanted.files),
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=2))
    return int(any(found[name]["faults"] for name in ("params", "files")))  # type: ignore[index]


if __name__ == "__main__":
    sys.exit(main())
