"""The stages of dvc.yaml: thin scripts, `python -m stages.<name>`."""

import atexit
import gc
import sys


def _end_quickly() -> None:
    """At its end Python looks for garbage among all that torch brought in, which takes longer than small stages work.

    It costs 0.45 s of every process and nothing needs to be found then, except what triton counts (transformers imports
    it): it prints a page of leaks about all that was not found.
    """
    if "triton._C.libtriton" not in sys.modules:
        gc.freeze()


atexit.register(_end_quickly)  # first of all, so that it runs last
