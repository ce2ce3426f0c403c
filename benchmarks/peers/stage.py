"""Run a stage exactly as `tlpipe stage NAME` does, and note when its imports were over.

`python stage.py STAMP MODULES NAME [ARGUMENTS]`: the imports are timed in the very process that then does the work. A
separate process that only imports would be another sample: measured while the machine was busier, it took longer than
the whole stage.
"""

import importlib
import sys
import time
from pathlib import Path

from tlpipe.stages.runner import run_stage


def main() -> None:
    """Import MODULES (comma-separated), write the monotonic clock to STAMP, run the stage."""
    stamp, modules, name = sys.argv[1:4]
    for module in modules.split(","):
        _load(module)
    Path(stamp).write_text(repr(time.monotonic()), encoding="utf-8")
    run_stage(name, *sys.argv[4:])


def _load(module: str) -> None:
    """As the stages import it: torchvision without torch's compiler, whose end takes time too."""
    if module == "torchvision":
        importlib.import_module("tlpipe.backbones.lean").lean_import(module)
    else:
        importlib.import_module(module)


if __name__ == "__main__":
    main()
