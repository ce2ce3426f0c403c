"""How far a part of `make abuse` is, so that it can go on after a stop, and the file of all parts' counts."""

import hashlib
import json
import platform
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tlpipe
from benchmarks.abuse.outcome import Tally
from benchmarks.report.provenance import stamp

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks/results/abuse.json"
STATES = Path(".tlpipe/abuse")
"""Relative to where the command is started."""
UNFINISHED = 3
"""Exit code where the time was over before the end: the same command goes on."""


def in_pieces(
    part: str, count: int, seconds: float, size: int, work: Callable[[int, int], Tally]
) -> dict[str, Any] | None:
    """Outcomes of the cases 0 to `count` of a part, recorded at the end; None where the time was over before.

    Args:
        part: Its name in the results.
        count: Its cases.
        seconds: After which no other piece begins; 0 = all of them.
        size: Cases of a piece, after each of which a stop loses nothing.
        work: Of the first case of a piece and their number.
    """
    begun = time.monotonic()
    state = load(part) or {"done": 0, "outcomes": {}, "faults": []}
    while state["done"] < count:
        if seconds and time.monotonic() - begun > seconds:
            return None
        size = min(size, count - state["done"])
        tally = work(state["done"], size)
        state["outcomes"] = dict(Counter(state["outcomes"]) + tally.outcomes)
        state["faults"], state["done"] = state["faults"] + tally.faults, state["done"] + size
        save(part, state)
    summary = {"cases": count, **dict(sorted(state["outcomes"].items())), "faults": state["faults"][:20]}
    publish(part, summary)
    return summary


def code() -> str:
    """16 hex digits of the package that is tried and of these harnesses: what was counted of other code is dropped."""
    folders = (Path(tlpipe.__file__).parent, Path(__file__).parent)
    files = sorted(path for folder in folders for path in folder.rglob("*.py"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:16]


def load(part: str) -> dict[str, Any] | None:
    """What `save` wrote of the same code; None where there is nothing of it."""
    path = STATES / f"{part}.json"
    state: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    content: dict[str, Any] = state.get("content", {})
    return content if state.get("code") == code() else None


def save(part: str, content: dict[str, Any]) -> None:
    """Replace what is known of a part, in one step."""
    STATES.mkdir(parents=True, exist_ok=True)
    _replace(STATES / f"{part}.json", {"code": code(), "content": content})


def publish(part: str, summary: dict[str, Any]) -> None:
    """Put the counts of a part that is at its end into the results, and forget how far it was."""
    results = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.is_file() else {}
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    results[part] = {"python": platform.python_version(), **summary}
    _replace(RESULTS, dict(sorted(results.items())))
    stamp(RESULTS, "make abuse", platform.machine())
    forget(part)


def forget(part: str) -> None:
    """The next run of a part begins at its beginning."""
    (STATES / f"{part}.json").unlink(missing_ok=True)


def _replace(path: Path, content: Any) -> None:
    half = path.with_name(f"{path.name}.half")
    half.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    half.replace(path)


def end(part: str, summary: dict[str, Any] | None) -> int:
    """Say how a part ended; the exit code."""
    if summary is None:
        print(f"{part}: not at its end yet; start it again")
        return UNFINISHED
    print(json.dumps({part: summary}, indent=2, ensure_ascii=False))
    return int(bool(summary["faults"]))
