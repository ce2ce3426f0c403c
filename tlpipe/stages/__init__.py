"""The stages of dvc.yaml: what `tlpipe stage NAME` runs."""

import atexit

from tlpipe.endings import end_quickly
from tlpipe.troubles import KEPT, explain_uncaught

atexit.register(end_quickly)
explain_uncaught(KEPT)
