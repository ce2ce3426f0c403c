"""How a process ends."""

import gc
import os
import sys
from typing import NoReturn

_well: list[int] = []
"""The code that `leave` was given, once."""


def end_quickly() -> None:
    """For `atexit`, registered first so that it runs last, when all threads have ended too.

    A process that `leave`s is given back to the system as it is: to take apart all that torch and transformers brought
    in costs a second, and nothing needs it. Else it is spared the search for garbage (0.45 s), except where triton is
    (transformers imports it): it prints a page of leaks about all that was not found.
    """
    if _well and _flushed():
        os._exit(_well[0])
    if "triton._C.libtriton" not in sys.modules:
        gc.freeze()


def leave(code: int = 0) -> NoReturn:
    """End the process with this exit code; nothing may come after it but what is registered at exit."""
    _well[:] = [code]
    sys.exit(code)


def _flushed() -> bool:
    """Whether all that was printed is out; where it is not, the interpreter is left to say so."""
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except (OSError, ValueError):
        return False
    return True
