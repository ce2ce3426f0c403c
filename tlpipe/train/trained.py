"""What comparing needs of a model folder: the part of model.json that is read without torch."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tlpipe.config import ConfigError, Spec, parse
from tlpipe.preprocess import AnyPreprocess
from tlpipe.strategies.ending import Ending
from tlpipe.strategies.plan import Plan

ABOUT = "model.json"


class Trained(Spec):
    """How a model was trained, and what it costs."""

    run_key: str
    """Hash of everything the training stage read; the run's identity in MLflow."""
    task: Any
    """Spec of the task; plain data where it was read without torch."""
    preprocess: AnyPreprocess
    plan: Plan
    total_parameters: int
    trainable_parameters: int
    """The largest number that trains in any one phase."""
    ending: Ending | None = None
    """What was chosen at the end of the training: a soup, an interpolation; None = nothing was asked for."""

    @property
    def kind(self) -> str:
        """Kind of the task."""
        return str(self.task["kind"] if isinstance(self.task, Mapping) else self.task.kind)


def load_trained(folder: Path) -> Trained:
    """The part of `folder`'s model.json that is `Trained`. Raises ConfigError when there is none."""
    path = folder / ABOUT
    if not path.is_file():
        raise ConfigError(f"{path} does not exist: {folder} is not a model folder; run `dvc repro` to make it")
    about = json.loads(path.read_text())
    trained: Trained = parse({key: about[key] for key in Trained.model_fields if key in about}, Trained, str(path))
    return trained
