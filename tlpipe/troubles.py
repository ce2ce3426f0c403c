"""What the system refuses (a full disk, no permission, Ctrl-C) as a sentence with what is kept and how to go on."""

import errno
import os
import re
import sys
from collections.abc import Iterator
from types import TracebackType

TRACEBACKS = "TLPIPE_TRACEBACK"
"""Names the environment variable with which the whole traceback is shown as well."""
KEPT = "What was finished is kept, and so is the last recovery state (.tlpipe/work): `dvc repro` goes on from there."
AGAIN = "Nothing else was changed; run the command again then."
ADVICE = {
    errno.ENOSPC: "the disk is full: free some room (`dvc gc -w` and .tlpipe/cache are places to look)",
    errno.EDQUOT: "the quota of this user is used up: free some room",
    errno.EROFS: "it is on a file system that is read-only: make it writable, or work in another folder",
    errno.EACCES: "this user may not: give the permission (`chmod -R u+rwX` on what is yours)",
    errno.EPERM: "this user may not: give the permission (`chmod -R u+rwX` on what is yours)",
    errno.ENOENT: "it is not there: an earlier stage writes it, or it was removed meanwhile",
    errno.EMFILE: "too many files are open: raise the limit (`ulimit -n`)",
    errno.ENFILE: "too many files are open on this machine",
    errno.EIO: "the disk or the network does not answer as it should: look at the system's log",
    errno.EFBIG: "the file would be larger than is allowed here (`ulimit -f`)",
    errno.ENOMEM: "there is not enough memory",
    errno.ENAMETOOLONG: "its name is too long for this file system: shorten it",
    errno.ESTALE: "the network's file system lost it: mount it again",
}
LONGEST = 300
"""Characters of a path that are said."""
LOST = "a file could not be written or read to its end; the disk may be full"
INSIDE = re.compile(r"\(os error (\d+)\)(?: at path \"([^\"]*)\")?")
"""How libraries in Rust (safetensors, tokenizers) tell the system's error."""
STREAM = re.compile(r"inline_container|PytorchStream|iostream error|requested and \d+ written")
MEMORY = re.compile(r"can't allocate memory|not enough memory|bad allocation|std::bad_alloc")


def sentence(error: BaseException, kept: str = AGAIN) -> str | None:
    """What happened, to which file, what to do, and what is `kept`; None where the system has no part in it."""
    if isinstance(error, KeyboardInterrupt):
        return f"interrupted. {kept}"
    if isinstance(error, MemoryError):
        return f"there is not enough memory: close other programs, or lower the batch size. {kept}"
    for each in _chain(error):
        if (what := _what(each)) is not None:
            return f"{what}. {kept}"
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error, and those that it was raised for: what a library says last may hide what the system said first."""
    met: list[BaseException] = []
    while error is not None and error not in met:
        met.append(error)
        error = error.__cause__ or error.__context__
    yield from sorted(met, key=lambda each: not isinstance(each, OSError))


def _what(error: BaseException) -> str | None:
    if isinstance(error, OSError):
        number = error.errno
        return _line(error.filename or error.filename2, number, error.strerror or str(error))
    if type(error) is ModuleNotFoundError:
        return None
    if inside := INSIDE.search(str(error)):
        return _line(inside[2], int(inside[1]), os.strerror(int(inside[1])))
    if STREAM.search(str(error)):
        return LOST
    return "there is not enough memory: lower the batch size" if MEMORY.search(str(error)) else None


def _line(name: object, number: int | None, said: str) -> str:
    path = os.fsdecode(name) if isinstance(name, str | bytes) else str(name)
    where = f"{_shortened(path)}: " if name is not None else ""
    if number is None and STREAM.search(said):
        return f"{where}{LOST}"
    return f"{where}{ADVICE[number]} ({said})" if number in ADVICE else f"{where}{said}"


def _shortened(name: str) -> str:
    """A path of at most LONGEST characters: one that is too long for the system need not be read whole."""
    return name if len(name) <= LONGEST else f"{name[: LONGEST // 2]}…{name[-LONGEST // 2 :]}"


def explain_uncaught(kept: str = AGAIN) -> None:
    """Let an error of the system that nobody caught end this process with its sentence in place of a traceback."""

    def show(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        said = sentence(error, kept)
        if said is None or os.environ.get(TRACEBACKS):
            sys.__excepthook__(kind, error, trace)
        if said is not None:
            print(f"error: {said}", file=sys.stderr)  # noqa: T201 - this is how a process ends

    sys.excepthook = show
