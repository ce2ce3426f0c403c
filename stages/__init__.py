"""The stages of dvc.yaml: thin scripts, `python -m stages.<name>`."""

import atexit

from tlpipe.endings import end_quickly
from tlpipe.troubles import KEPT, explain_uncaught

atexit.register(end_quickly)
explain_uncaught(KEPT)
