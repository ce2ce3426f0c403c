"""The `tracking` section of params.yaml."""

import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from tlpipe.config import Spec
from tlpipe.tracking.journal import Journal, Recorder
from tlpipe.tracking.launch import start_publisher

TRIAL = "DVC_EXP_NAME"
"""Environment variable in which `dvc exp run` names the experiment that a stage runs for."""
NAME = r"^[^\s\x00-\x1f\x7f]([^\x00-\x1f\x7f]*[^\s\x00-\x1f\x7f])?$"


class Tracking(Spec):
    """How runs reach MLflow. Where to is `MLFLOW_TRACKING_URI`, or `mlflow.db` in the project's folder."""

    enabled: bool = True
    """False records nothing at all: no journal, no MLflow."""
    experiment: Annotated[str, Field(min_length=1, max_length=200, pattern=NAME)] = "tlpipe"
    """MLflow experiment, a name without spaces around it or control characters in it, that holds a run a strategy."""
    wait: Annotated[float, Field(ge=0, le=3600)] = 90.0
    """Seconds that `compare` waits for MLflow; what is not there by then is published later."""

    registration: Annotated[Literal["auto", "always", "never"], Field(alias="register")] = "auto"
    """Whether the champion is registered and may get the alias: `auto` unless this is a trial (`dvc exp run`)."""

    def kept_from_registry(self) -> str:
        """Why the champion is not to be registered, and what would do it; empty where it is."""
        trial = os.environ.get(TRIAL, "")
        if self.registration == "never":
            return "not asked: tracking.register is never"
        if self.registration == "auto" and trial:
            return (
                f"not asked: {trial} is a trial of `dvc exp run`; `dvc exp apply {trial}` and `dvc repro -f compare` "
                "register its champion, or tracking.register: always every trial's"
            )
        return ""

    def journal(self, run_key: str, name: str, root: Path | None = None) -> Recorder:
        """A journal with a publisher that follows it, or one that does nothing when tracking is off."""
        if not self.enabled:
            return Recorder()
        journal = Journal.open(run_key, name, self.experiment, root)
        start_publisher(run_key, root)
        return journal
