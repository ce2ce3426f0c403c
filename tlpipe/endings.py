"""How a process ends."""

import gc
import sys


def end_quickly() -> None:
    """For `atexit`, registered first so that it runs last: no search for garbage among all that torch brought in.

    It costs 0.45 s of every process and nothing needs to be found then, except what triton counts (transformers imports
    it): it prints a page of leaks about all that was not found.
    """
    if "triton._C.libtriton" not in sys.modules:
        gc.freeze()
