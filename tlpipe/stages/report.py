"""report: one self-contained page from everything that the other stages wrote."""

import sys
from pathlib import Path

from tlpipe.config import ConfigError
from tlpipe.report.collect import collect
from tlpipe.report.render import render

OUT = Path("reports/report.html")


def main(root: Path = Path()) -> int:
    """Write reports/report.html; exit code 0, or 2 after a message about what is missing."""
    try:
        page = render(collect(root))
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    (root / OUT).write_text(page, encoding="utf-8")
    print(f"{OUT}: {len(page.encode()) / 1e6:.1f} MB")
    return 0
