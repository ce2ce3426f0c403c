"""The journal: all that a training knows of tracking. It appends lines to a local file and never waits for a server."""

import hashlib
import json
import os
import re
import shutil
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock

from tlpipe.locks import acquire
from tlpipe.tracking.note import plan_note
from tlpipe.tracking.outbox import JOURNAL, WRITER_LOCK, run_folder

Status = Literal["FINISHED", "FAILED", "KILLED"]
LONGEST_PARAM, LONGEST_TAG, LONGEST_KEY = 6000, 5000, 250
EVIDENCE = "evaluation/evidence.csv"
"""Artifact of a champion: what it predicted of the samples that decided."""
MODEL, BUNDLE, EXAMPLE = "model", "bundle", "example.npy"


class Recorder:
    """What a stage calls. This one does nothing: it is what there is when tracking is off."""

    def params(self, values: Mapping[str, Any]) -> None:
        """Nested settings, flattened to dotted names."""

    def metrics(self, step: int, values: Mapping[str, float], time_ms: int | None = None) -> None:
        """One point of each curve."""

    def summary(self, values: Mapping[str, float], time_ms: int | None = None) -> None:
        """Final figures, one number each."""

    def tags(self, values: Mapping[str, str]) -> None:
        """Labels of the run; a later value replaces an earlier one."""

    def plan(self, account: Mapping[str, Any]) -> None:
        """The plan in figures."""

    def dataset(self, name: str, digest: str, source: str, profile: Mapping[str, Any] | None = None) -> None:
        """What the run was trained on."""

    def artifact(self, path: Path, folder: str = "") -> None:
        """A small file."""

    def model(self, folder: Path, example: Any = None) -> None:
        """The trained model's folder."""

    def end(self, status: Status = "FINISHED", time_ms: int | None = None) -> None:
        """Nothing more comes."""


class Journal(Recorder):
    """Append-only record of one run, JSON lines in `<root>/<run_key>/journal.jsonl`.

    Crash-safe: a line is one write, a torn last line is cut off when the journal is opened again. Opening the journal
    of a killed training goes on with it; a point (metric, step) that is recorded again is ignored by the reader.
    """

    def __init__(self, folder: Path) -> None:
        """Open `folder`'s journal for appending; use `Journal.open` to begin a run."""
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._lock = FileLock(folder / WRITER_LOCK, thread_local=False)
        if acquire(self._lock):
            _cut_torn_line(folder / JOURNAL)
        self._file = (folder / JOURNAL).open("ab", buffering=0)

    @classmethod
    def open(cls, run_key: str, name: str, experiment: str, root: Path | None = None) -> "Journal":
        """Begin a run, or go on with the one of the same key (a resumed training).

        Args:
            run_key: hash of everything that the training reads; the run's identity.
            name: how people call it; shown in MLflow's table.
            experiment: MLflow experiment.
            root: the outbox; `.tlpipe/runs` of the project by default.
        """
        journal = cls(run_folder(run_key, root))
        journal.write("start", run_key=run_key, name=name, experiment=experiment)
        return journal

    @property
    def size(self) -> int:
        """Bytes of the journal so far."""
        return (self.folder / JOURNAL).stat().st_size

    def write(self, kind: str, time_ms: int | None = None, **values: Any) -> None:
        """Append one record. A full disk or the like is a warning: tracking never ends a training."""
        if not self._lock.is_locked:
            acquire(self._lock)  # another writer had it, and may have ended
        record = {"kind": kind, "time": int(time.time() * 1000) if time_ms is None else time_ms, **values}
        try:
            self._file.write(json.dumps(record, default=str).encode() + b"\n")
        except OSError as error:
            self._warn(str(self.folder / JOURNAL), error)

    def params(self, values: Mapping[str, Any]) -> None:
        """Nested settings, flattened to dotted names; a value too long for MLflow becomes an artifact."""
        short = {}
        for key, value in flatten(values).items():
            if len(value) > LONGEST_PARAM:
                self._text(f"params/{key.replace('/', '_')}.txt", value)
                value = f"{value[:200]}… (whole value: artifact params/{key.replace('/', '_')}.txt)"
            short[key] = value
        self.write("params", values=short)

    def metrics(self, step: int, values: Mapping[str, float], time_ms: int | None = None) -> None:
        """One point of each curve at `step` (any counter that grows over the whole run, epochs for instance)."""
        self.write("metrics", time_ms, step=int(step), values={clean(key): float(v) for key, v in values.items()})

    def summary(self, values: Mapping[str, float], time_ms: int | None = None) -> None:
        """Final figures; give them names of their own (`test/accuracy`): a curve of the same name would hide them."""
        self.write("summary", time_ms, values={clean(key): float(v) for key, v in values.items()})

    def tags(self, values: Mapping[str, str]) -> None:
        """Labels of the run; a later value replaces an earlier one."""
        self.write("tags", values={clean(key): str(value)[:LONGEST_TAG] for key, value in values.items()})

    def plan(self, account: Mapping[str, Any]) -> None:
        """The plan (`strategies.counting.account`): as data, as tables in the UI, and in the run's description."""
        self._text("plan.json", json.dumps(account, indent=1))
        tables = {"plan_table.json": account["rows"], "plan_totals.json": account["totals"]}
        for name, rows in tables.items():
            self._text(name, json.dumps({"columns": list(rows[0]), "data": [list(row.values()) for row in rows]}))
        # what mlflow.log_table writes besides the file: the UI looks for tables here
        self.tags({"mlflow.loggedArtifacts": json.dumps([{"path": name, "type": "table"} for name in tables])})
        self.tags({"mlflow.note.content": plan_note(account)})

    def dataset(self, name: str, digest: str, source: str, profile: Mapping[str, Any] | None = None) -> None:
        """What the run was trained on: `digest` is `Packed.fingerprint`, `profile` any figures (counts, classes)."""
        self.write("dataset", name=name, digest=short(digest), source=source, profile=dict(profile or {}))

    def artifact(self, path: Path, folder: str = "") -> None:
        """A small file, copied here: it can be published later even when DVC removed the original."""
        try:
            self._add_file(f"{folder}/{path.name}", path.read_bytes())
        except OSError as error:
            self._warn(f"artifact {path}", error)

    def model(self, folder: Path, example: Any = None) -> None:
        """The trained model's folder, copied until it is published.

        Args:
            folder: a model folder (`tlpipe.train.model`).
            example: raw images uint8 (N, H, W, 3), one or two; a grey ramp where there are none.
        """
        if example is not None:
            import numpy as np

            np.save(self.folder / EXAMPLE, np.asarray(example))
        self._add_model(MODEL, folder)

    def bundle(self, folder: Path) -> None:
        """The exported ONNX bundle of this run, copied until it is published."""
        self._add_model(BUNDLE, folder)

    def champion(self, evidence: str, metric: str, value: float, higher_is_better: bool, kind: str) -> None:
        """This run won the comparison.

        Args:
            evidence: Fingerprint of the raw samples that decided, and of their labels: validation or out of fold.
            metric: What ranks.
            value: Of `metric` on them.
            higher_is_better: Whether a larger value wins.
            kind: Kind of preprocessing; how the artifact EVIDENCE, what was predicted of each of them, is read.
        """
        figures = {"value": float(value), "higher_is_better": higher_is_better, "of": kind}
        self.write("champion", None, evidence=short(evidence), metric=metric, **figures)

    def end(self, status: Status = "FINISHED", time_ms: int | None = None) -> None:
        """Nothing more comes; closes the journal."""
        self.write("end", time_ms, status=status)
        self.close()

    def close(self) -> None:
        """Let go of the file without ending the run."""
        self._file.close()
        self._lock.release()

    def _add_model(self, kind: str, folder: Path) -> None:
        try:
            copy_folder(folder, self.folder / kind)
        except OSError as error:
            self._warn(f"{kind} {folder}", error)
        self.write("model", name=kind, origin=str(folder.resolve()))

    def _warn(self, what: str, error: OSError) -> None:
        warnings.warn(f"tracking could not record {what}: {error}", RuntimeWarning, stacklevel=4)

    def _text(self, name: str, text: str) -> None:
        self._add_file(name, text.encode())

    def _add_file(self, name: str, content: bytes) -> None:
        path = self.folder / "files" / clean(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(path.name + ".tmp")
        temporary.write_bytes(content)
        os.replace(temporary, path)
        self.write("artifact", name=clean(name), digest=hashlib.sha256(content).hexdigest())


def short(digest: str) -> str:
    """A fingerprint as long as people can read in a table."""
    return digest[:12]


def clean(name: str) -> str:
    """A name that MLflow takes: letters, digits and `_-. :/`, no path tricks, at most 250 characters."""
    parts = re.sub(r"[^\w\-. :/]", "_", name, flags=re.ASCII).split("/")
    safe = "/".join(part for part in parts if part not in ("", ".", ".."))[:LONGEST_KEY]
    return safe or "_"


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Dotted names and texts of a nested mapping; a list stays one value, written as JSON."""
    flat: dict[str, str] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{name}.")
        else:
            flat[clean(name)] = value if isinstance(value, str) else json.dumps(value, default=str)
    return flat


def copy_folder(source: Path, destination: Path) -> None:
    """Copy a folder so that `destination` is whole or absent."""
    temporary = destination.with_name(destination.name + ".tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    shutil.copytree(source, temporary, copy_function=shutil.copyfile)
    shutil.rmtree(destination, ignore_errors=True)
    temporary.rename(destination)


def _cut_torn_line(path: Path) -> None:
    content = path.read_bytes() if path.exists() else b""
    if content and not content.endswith(b"\n"):
        with path.open("r+b") as file:
            file.truncate(content.rfind(b"\n") + 1)
