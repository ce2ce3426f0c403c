"""A `tlpipe serve` of its own for a benchmark."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def started(bundle: Path, *options: str) -> Iterator[int]:
    """A server on a free port of 127.0.0.1, and its end."""
    code = "from tlpipe.cli import main; main()"
    command = [sys.executable, "-c", code, "serve", str(bundle), "--port", "0", *options]
    with tempfile.TemporaryFile("w+") as log, subprocess.Popen(command, stderr=log, env=dict(os.environ)) as process:
        try:
            yield _port(process, log.fileno())
        finally:
            process.terminate()


def _port(process: "subprocess.Popen[bytes]", log: int) -> int:
    while process.poll() is None:
        text = os.pread(log, 100_000, 0).decode()
        for line in text.splitlines():
            if '"listening"' in line and line.endswith("}"):
                return int(json.loads(line)["url"].rsplit(":", 1)[1])
        time.sleep(0.05)
    raise RuntimeError(f"the server did not start:\n{os.pread(log, 100_000, 0).decode()}")
