"""The stages of dvc.yaml: thin scripts, `python -m stages.<name>`."""

import atexit

from tlpipe.endings import end_quickly

atexit.register(end_quickly)
