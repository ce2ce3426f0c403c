"""The `tracking` section of params.yaml."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from tlpipe.config import Spec
from tlpipe.tracking.journal import Journal, Recorder
from tlpipe.tracking.launch import start_publisher


class Tracking(Spec):
    """How runs reach MLflow. Where to is `MLFLOW_TRACKING_URI`, or `mlflow.db` in the project's folder."""

    enabled: bool = True
    """False records nothing at all: no journal, no MLflow."""
    experiment: Annotated[str, Field(min_length=1, max_length=200, pattern=r"^\S(.*\S)?$")] = "tlpipe"
    """MLflow experiment, a name without spaces around it, that holds a run a strategy."""
    wait: Annotated[float, Field(ge=0, le=3600)] = 90.0
    """How long `compare` waits for MLflow, seconds; what is not there by then is published later."""

    def journal(self, run_key: str, name: str, root: Path | None = None) -> Recorder:
        """A journal with a publisher that follows it, or one that does nothing when tracking is off."""
        if not self.enabled:
            return Recorder()
        journal = Journal.open(run_key, name, self.experiment, root)
        start_publisher(run_key, root)
        return journal
