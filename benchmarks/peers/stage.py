"""Run a stage exactly as `python -m stages.NAME` does, and note when its imports were over.

`python stage.py STAMP MODULES NAME [ARGUMENTS]`: the imports are timed in the very process that then does the work. A
separate process that only imports would be another sample: measured while the machine was busier, it took longer than
the whole stage.
"""

import importlib
import runpy
import sys
import time
from pathlib import Path


def main() -> None:
    """Import MODULES (comma-separated), write the monotonic clock to STAMP, run the stage."""
    stamp, modules, name = sys.argv[1:4]
    for module in modules.split(","):
        _load(module)
    sys.modules.pop(f"stages.{name}", None)  # runpy runs it as __main__ and warns if it is there already
    Path(stamp).write_text(repr(time.monotonic()), encoding="utf-8")
    sys.argv[1:] = sys.argv[4:]
    runpy.run_module(f"stages.{name}", run_name="__main__", alter_sys=True)


def _load(module: str) -> None:
    """As the stages import it: torchvision without torch's compiler, whose end takes time too."""
    if module == "torchvision":
        importlib.import_module("tlpipe.backbones.lean").lean_import(module)
    else:
        importlib.import_module(module)


if __name__ == "__main__":
    main()
