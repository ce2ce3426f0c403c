"""Publishers seen from a stage: started beside it, waited for at most as long as one says. Nothing loads mlflow."""

import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tlpipe.tracking.outbox import (
    LOG,
    is_published,
    journals,
    read_state,
    run_folder,
    runs_root,
    target,
    writer_lives,
)
from tlpipe.tracking.snapshot import read

PACKAGE_HOME = Path(__file__).resolve().parents[2]
DEFAULTS = {
    # a server that hangs must not keep a publisher for minutes
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "15",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    # the model's requirements are given; MLflow must not export a lock file it finds
    "MLFLOW_UV_AUTO_DETECT": "false",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "OMP_NUM_THREADS": "1",
    "GIT_PYTHON_REFRESH": "quiet",
}
FOREIGN = ("MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME")
_children: list[subprocess.Popen[bytes]] = []


@dataclass(frozen=True)
class Report:
    """What a flush came to: names of the runs that MLflow has now, and why the others still wait."""

    published: tuple[str, ...]
    waiting: dict[str, str]


def start_publisher(run_key: str, root: Path | None = None) -> None:
    """Start a process of its own that publishes the run while it trains; returns at once.

    It ends by itself when the journal ends or its writer dies, and survives the stage that started it.
    """
    _spawn(["live", "--background", str(run_folder(run_key, root))], run_folder(run_key, root))


def wait(run_key: str, seconds: float, root: Path | None = None) -> bool:
    """Wait until MLflow has everything of a run, for at most `seconds`. True when it has."""
    folder = run_folder(run_key, root)
    deadline = time.monotonic() + seconds
    while not (done := _is_current(folder)) and time.monotonic() < deadline:
        time.sleep(0.1)
    return done


def pending(root: Path | None = None, everything: bool = False) -> list[Path]:
    """Run folders that MLflow lacks and nobody is training.

    Runs that some other store has already are left out, unless `everything` asks for them in the current store too.
    """
    waiting = []
    for folder in journals(runs_root(root)):
        elsewhere = any(is_published(folder, key) for key in read_state(folder))
        if not _is_current(folder) and (everything or not elsewhere) and not writer_lives(folder):
            waiting.append(folder)
    return waiting


def flush(root: Path | None = None, timeout: float = 300.0, everything: bool = False) -> Report:
    """Publish what waits in the outbox; returns after `timeout` seconds at the latest."""
    folders = pending(root, everything)
    publish(folders, timeout)
    done = [folder for folder in folders if _is_current(folder)]
    return Report(
        published=tuple(read(folder).name for folder in done),
        waiting={f"{read(f).name} ({f.name})": problem(f) for f in folders if f not in done},
    )


def flush_in_background(root: Path | None = None) -> int:
    """Publish what waits in the outbox without waiting for it; returns how many runs that is."""
    folders = pending(root)
    if folders:
        _spawn(["once", "--background", *map(str, folders)], runs_root(root))
    return len(folders)


def publish(folders: Sequence[Path], timeout: float) -> None:
    """Publish these runs in a process of its own; one that is not done in `timeout` seconds goes on without us."""
    if not folders:
        return
    try:
        _spawn(["once", *map(str, folders)], folders[0].parent).wait(timeout)
    except subprocess.TimeoutExpired:
        return


def problem(folder: Path) -> str:
    """Why a run is not published, as far as its publisher has told."""
    entry = _entry(folder)
    return str(entry.get("problem") or f"not finished yet; see {folder / LOG}")


def run_id(folder: Path) -> str | None:
    """The MLflow run id in the current store; None when it is not known there."""
    found = _entry(folder).get("run_id")
    return str(found) if found else None


def reachable(uri: str, seconds: float = 3.0) -> bool:
    """False when nothing answers at an http(s) URI. Any answer counts, also an error; other stores are not asked."""
    if not uri.startswith(("http://", "https://")):
        return True
    try:
        with urllib.request.urlopen(f"{uri.rstrip('/')}/health", timeout=seconds):  # noqa: S310  # scheme checked above
            return True
    except urllib.error.HTTPError as answer:
        answer.close()
        return True
    except urllib.error.URLError as error:
        # a certificate that only MLflow's own settings accept is an answer too
        return "SSL" in str(error.reason) or "CERTIFICATE" in str(error.reason)
    except (OSError, ValueError):
        return False


def _entry(folder: Path) -> dict[str, Any]:
    entry: dict[str, Any] = read_state(folder).get(target(read(folder).experiment, folder.parent).key, {})
    return entry


def _is_current(folder: Path) -> bool:
    return is_published(folder, target(read(folder).experiment, folder.parent).key)


def _spawn(arguments: Sequence[str], log_folder: Path) -> subprocess.Popen[bytes]:
    log_folder.mkdir(parents=True, exist_ok=True)
    with (log_folder / LOG).open("ab") as log:
        child = subprocess.Popen(
            [sys.executable, "-m", "tlpipe.tracking.publisher", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=_environment(),
            cwd=_home(log_folder),
            start_new_session=True,
        )
    # keeping the object spares a warning when the stage ends first; polling reaps those that are done
    _children[:] = [*(other for other in _children if other.poll() is None), child]
    return child


def _environment() -> dict[str, str]:
    """The caller's environment with timeouts; what the user has set himself stays."""
    env = {**DEFAULTS, **{key: value for key, value in os.environ.items() if key not in FOREIGN}}
    env["PYTHONPATH"] = os.pathsep.join(filter(None, [str(PACKAGE_HOME), os.environ.get("PYTHONPATH", "")]))
    return env


def _home(log_folder: Path) -> Path:
    """The project's folder, from a run's folder or the outbox: relative tracking URIs mean the same everywhere."""
    return next((parent.parent for parent in log_folder.parents if parent.name == ".tlpipe"), log_folder)
