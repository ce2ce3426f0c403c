"""Memory that a training gives back and takes again at every step, kept by the process in between."""

import ctypes
import sys

TRIM_THRESHOLD, MMAP_MAX = -1, -4
"""Parameters of mallopt(3)."""
NEVER = 2**31 - 1


def hold_on() -> bool:
    """Let glibc keep what was freed instead of returning it to the system; False where there is no glibc.

    Its malloc maps blocks of more than a few megabytes one by one and unmaps them when they are freed, so that every
    activation of every step is made of pages that the kernel zeroes anew: a third of a CPU step of MobileNetV2.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and bool(mallopt(MMAP_MAX, 0) and mallopt(TRIM_THRESHOLD, NEVER))
