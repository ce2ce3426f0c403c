"""Provenance of benchmark results: the command, commit, date and machine of each file in benchmarks/results.

A script that writes a results file calls `stamp` afterwards; the tables show what it wrote.
"""

import json
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

RESULTS = Path(__file__).resolve().parents[1] / "results"
FILE = "provenance.json"


class Provenance(NamedTuple):
    """Where the figures of one results file come from."""

    command: str
    """Command that measures them, run in the root of the repository."""
    commit: str
    """Abbreviated commit that was checked out; a `+` follows where files differed from it."""
    date: str
    machine: str

    def caption(self) -> str:
        """Line for below a table."""
        return f"`{self.command}` · commit {self.commit} · {self.date} · {self.machine}"


def provenance(folder: Path = RESULTS) -> dict[str, Provenance]:
    """Provenance by the name of the results file, without its suffix."""
    entries = json.loads((folder / FILE).read_text(encoding="utf-8")) if (folder / FILE).is_file() else {}
    return {name: Provenance(**entry) for name, entry in entries.items()}


def stamp(results: Path, command: str, machine: str) -> None:
    """Record that `command` wrote a results file just now, in provenance.json beside it."""
    known = provenance(results.parent)
    known[results.stem] = Provenance(command, _commit(), f"{datetime.now(UTC):%Y-%m-%d}", machine)
    entries = {name: entry._asdict() for name, entry in sorted(known.items())}
    (results.parent / FILE).write_text(json.dumps(entries, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _commit() -> str:
    try:
        commit = _git("rev-parse", "--short=7", "HEAD")
        changed = _git("status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.CalledProcessError):
        return "unknown (no git)"
    return f"{commit}+" if changed else commit


def _git(*arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments], cwd=Path(__file__).parent, capture_output=True, text=True, check=True
    )  # fmt: skip
    return done.stdout.strip()
