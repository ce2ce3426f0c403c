"""tlpipe: declarative transfer learning, from labelled samples to a verified ONNX bundle.

In Python, each the same code as the command of its name: `init`, `check`, `run`, `compare`, and `Predictor` for a
bundle. They are loaded when they are first used, so that `import tlpipe` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tlpipe.project.check import check
    from tlpipe.project.init import init
    from tlpipe.project.run import compare, run
    from tlpipe.serve.predictor import Predictor

__version__ = "0.1.0"
__all__ = ["Predictor", "__version__", "check", "compare", "init", "run"]
_HOMES = {
    "Predictor": "tlpipe.serve.predictor",
    "check": "tlpipe.project.check",
    "compare": "tlpipe.project.run",
    "init": "tlpipe.project.init",
    "run": "tlpipe.project.run",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'tlpipe' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
