"""Write the tables of results: `python -m benchmarks.report`, or take a results file in and write them.

    python -m benchmarks.report
    python -m benchmarks.report --adopt .tlpipe/bench/results/peers.json --command "python -m benchmarks.peers.run"

Writes benchmarks/README.md, the tables of benchmarks/accuracy/README.md, and the blocks of figures in README.md and
docs. With --adopt a file that a benchmark wrote elsewhere is copied to benchmarks/results first, with its provenance.
"""

import argparse
import os
import platform
import shutil
from collections.abc import Iterator
from pathlib import Path

from benchmarks.accuracy import table as accuracy
from benchmarks.report.blocks import filled
from benchmarks.report.provenance import RESULTS, provenance, stamp
from benchmarks.report.questions import QUESTIONS, read

ROOT = RESULTS.parents[1]
README = RESULTS.parent / "README.md"
HEAD = """# Benchmarks

Made by `python -m benchmarks.report` from `benchmarks/results`; a test holds it to them. Do not edit.
What was tried, and older figures without a results file, are in [LOG.md](LOG.md).
Intervals are of 95 %. All machines are shared, so seconds vary by a third from run to run.
"""
TAIL = """Also: [all accuracy cells](accuracy/README.md), [the grid behind the advice](advisor/RESULTS.md),
[tables of the intervals](results/intervals.md). Without a committed result: `benchmarks.gpu`, `.step`, `.limit`,
`.growth`, `.large`, `.folds`, `.digits`, `.serve.run`; `python -m benchmarks.report --adopt FILE` takes a result in.
"""


def readme() -> str:
    """Content of benchmarks/README.md."""
    return "\n".join([HEAD, *_tables(), TAIL])


def _tables() -> Iterator[str]:
    known = provenance()
    for question in QUESTIONS:
        rows = [claim.row() for claim in question.claims(read(question.results[0]))]
        yield "\n".join([f"## {question.title}", "", "| claim | figure | goal | met |", "|---|---|---|---|", *rows])
        captions = [known[name].caption() for name in question.results if name in known]
        yield "".join(f"\n{caption}\n" for caption in captions)


def pages() -> dict[Path, str]:
    """Content of every file with generated figures, by path."""
    made = {README: readme(), accuracy.README: accuracy.readme()}
    for path in sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]):
        made[path] = filled(path.read_text(encoding="utf-8"))
    return made


def main() -> None:
    """Take a results file in where one is given, and write all tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--adopt", type=Path, help="JSON file of a benchmark, to be committed")
    parser.add_argument("--command", help="that wrote it, as it is run in the root of the repository")
    parser.add_argument("--machine", default=f"{platform.machine()}, {os.cpu_count()} cores")
    given = parser.parse_args()
    if given.adopt:
        if not given.command:
            parser.error("--adopt needs --command, the command that wrote the file")
        stamp(Path(shutil.copy(given.adopt, RESULTS)), given.command, given.machine)
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
