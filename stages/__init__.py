"""The stages of dvc.yaml: thin scripts, `python -m stages.<name>`."""

import atexit
import gc

# At its end Python looks for garbage among all that torch brought in, which takes longer than small stages work: 0.45 s
# of every process. Nothing needs to be found then. Registered first, it runs last.
atexit.register(gc.freeze)
