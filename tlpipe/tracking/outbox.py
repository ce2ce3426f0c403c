"""The outbox on disk: where runs wait, which of them MLflow already has, and the locks that keep it to once."""

import hashlib
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tlpipe.locks import held

RUNS = Path(".tlpipe/runs")
JOURNAL, STATE, LOG = "journal.jsonl", "published.json", "publisher.log"
WRITER_LOCK, PUBLISHER_LOCK = "writer.lock", "publisher.lock"


def project(folder: Path | None = None) -> Path:
    """The project that owns the outbox and the default store.

    `dvc exp run --queue` and `--temp` work in a copy below `.dvc/tmp/exps/` that is deleted afterwards: what belongs
    to MLflow must outlive it, so the project is then the folder that holds `.dvc`.
    """
    here = (folder or Path.cwd()).resolve()
    for parent in here.parents:
        if parent.parts[-3:] == (".dvc", "tmp", "exps"):
            return parent.parents[2]
    return here


def runs_root(root: Path | None = None) -> Path:
    """`root`, or the outbox of the project around the current folder; absolute."""
    return (root if root is not None else project() / RUNS).resolve()


def run_folder(run_key: str, root: Path | None = None) -> Path:
    """The run's folder in the outbox; characters that a file name cannot hold become `_`."""
    return runs_root(root) / re.sub(r"[^A-Za-z0-9._-]", "_", run_key)


@dataclass(frozen=True)
class Target:
    """One place a run is published to: a tracking URI and an experiment. State is kept per target."""

    uri: str
    experiment: str
    artifacts: str | None
    """Artifact location of a new experiment; None leaves it to the server."""

    @property
    def key(self) -> str:
        """Name of this target in a state file; hashed, for a URI may hold a password."""
        return hashlib.sha256(f"{self.uri}\n{self.experiment}".encode()).hexdigest()[:16]

    @property
    def shown(self) -> str:
        """The URI without credentials."""
        return re.sub(r"//[^/@]*@", "//***@", self.uri)


def target(experiment: str, root: Path) -> Target:
    """Where runs of `root` go now: `MLFLOW_TRACKING_URI`, else a SQLite file in the project's folder."""
    uri = os.environ.get("MLFLOW_TRACKING_URI", "").strip()
    if uri:
        return Target(uri, experiment, None)
    home = root.parents[1]
    folder = re.sub(r"[^A-Za-z0-9._-]", "_", experiment)
    return Target(f"sqlite:///{home / 'mlflow.db'}", experiment, (home / "mlartifacts" / folder).as_uri())


def read_state(folder: Path) -> dict[str, Any]:
    """What is published of a run, by target key; an unreadable file counts as nothing published."""
    try:
        state = json.loads((folder / STATE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return state if isinstance(state, dict) else {}


def write_state(folder: Path, key: str, values: dict[str, Any]) -> None:
    """Merge `values` into one target's state, atomically; call with the publisher's lock held."""
    state = read_state(folder)
    state[key] = {**state.get(key, {}), **values}
    write_atomically(folder / STATE, json.dumps(state, indent=1) + "\n")


def write_atomically(path: Path, text: str) -> None:
    """Replace a file in one step: a reader sees the old text or the new, also after a crash."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)


def is_published(folder: Path, key: str) -> bool:
    """True when the target has everything that the journal holds."""
    entry = read_state(folder).get(key, {})
    try:
        return bool(entry.get("complete")) and entry.get("bytes") == (folder / JOURNAL).stat().st_size
    except OSError:
        return False


def writer_lives(folder: Path) -> bool:
    """True while a training has the run's journal open."""
    with held(folder / WRITER_LOCK) as free:
        return not free


def journals(root: Path) -> list[Path]:
    """Folders of all runs in the outbox, by name."""
    return sorted(path.parent for path in root.glob(f"*/{JOURNAL}"))
