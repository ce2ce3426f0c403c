"""Files that others made: read whole, and never something whose reading does not end."""

import errno
import os
import stat
from pathlib import Path

SPECIAL = {
    stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a folder",
}  # fmt: skip
"""Kinds of files that hold no bytes of their own."""


def read_file(path: Path, most: int | None = None) -> bytes:
    """The bytes of a regular file, also through links.

    Raises:
        OSError: It cannot be read, it has more than `most` bytes, or it is a pipe, a socket or a device, whose reading
            may never end.
    """
    # without O_NONBLOCK the mere opening of a pipe that nobody writes to waits for ever
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode):
            kind = SPECIAL.get(stat.S_IFMT(mode), "a special file")
            raise OSError(errno.EINVAL, f"it is {kind}, not a file with bytes", str(path))
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            content = file.read() if most is None else file.read(most + 1)
    finally:
        os.close(descriptor)
    if most is not None and len(content) > most:
        raise OSError(errno.EFBIG, f"it has more than {most:,} bytes", str(path))
    return content
