"""MLflow without waiting for it: a journal on disk, and processes of their own that publish it.

Only stages and the command line import this package. Nothing that is exported here loads mlflow.
"""

from tlpipe.tracking.journal import Journal, Recorder
from tlpipe.tracking.launch import Report, flush, flush_in_background, pending, start_publisher, wait
from tlpipe.tracking.runs import (
    RunPayload,
    curve_values,
    ensure_run,
    ensure_runs,
    link_runs,
    log_bundle,
    registry_said,
    why_not,
)
from tlpipe.tracking.snapshot import PARENT_KEY
from tlpipe.tracking.spec import Tracking
from tlpipe.tracking.versions import code_tags, dvc_tags, hardware_tags, source_tags

__all__ = [
    "PARENT_KEY",
    "Journal",
    "Recorder",
    "Report",
    "RunPayload",
    "Tracking",
    "code_tags",
    "curve_values",
    "dvc_tags",
    "ensure_run",
    "ensure_runs",
    "flush",
    "flush_in_background",
    "hardware_tags",
    "link_runs",
    "log_bundle",
    "pending",
    "registry_said",
    "source_tags",
    "start_publisher",
    "wait",
    "why_not",
]
