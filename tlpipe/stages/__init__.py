"""The stages of dvc.yaml: what `tlpipe stage NAME` runs."""

import atexit

from tlpipe.endings import end_quickly

atexit.register(end_quickly)
