"""Registry of tasks: a task is a folder here, and a facet is what it gives one part of the pipeline.

Facets are imported when they are asked for: a stage without a network loads no torch, and neither does the server.
"""

from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

FACETS: dict[str, tuple[str, ...]] = {
    "metrics": ("METRICS", "EPOCHS"),
    "samples": ("Reader", "targets"),
    "solver": ("Problem",),
    "advice": ("SCORE", "MARKS"),
    "evaluation": ("Predictions", "BASELINES"),
    "figures": ("write_figures",),
    "report": ("ERRORS",),
    "export": ("graph", "inputs", "limits", "compare", "held_out", "golden_samples"),
    "serving": ("READINGS",),
}
"""By the file of a task's folder, the names that it has for the rest of the package."""


@cache
def kinds() -> tuple[str, ...]:
    """All values of `task.kind`: the folders with a spec."""
    return tuple(sorted(path.parent.name for path in Path(__file__).parent.glob("*/spec.py")))


def facet(kind: str, name: str) -> Any:
    """The facet `name` ("evaluation:Predictions": file and name) of the task `kind`.

    Code fingerprints follow calls with a literal `name`: into the tasks that a project uses, and into no others.

    Raises:
        ValueError: there is no such task, or no such facet.
    """
    file, _, symbol = name.partition(":")
    if kind not in kinds():
        raise ValueError(f"there is no task {kind!r}; there are {', '.join(kinds())}")
    if symbol not in FACETS.get(file, ()):
        raise ValueError(f"tasks have no facet {name!r}; tlpipe.tasks.FACETS lists them")
    return getattr(import_module(f"{__name__}.{kind}.{file}"), symbol)
