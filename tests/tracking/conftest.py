"""A project folder with an outbox, a model folder that MLflow can log, and readers of what a store holds."""

import json
import os
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tlpipe.strategies.counting import Size, account
from tlpipe.strategies.unfreeze import AllLayers
from tlpipe.tracking import Journal


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The outbox of a fresh project that has the default store."""
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(name, raising=False)
    project = tmp_path / "project"
    project.mkdir()
    monkeypatch.chdir(project)
    return project / ".tlpipe" / "runs"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """As much of a model folder as publishing reads."""
    folder = tmp_path / "models" / "all_layers"
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"weights" * 100)
    task = {"kind": "image_classification"}
    about = {"run_key": "k1", "labels": ["cat", "dog", "eel"], "task": task, "preprocess": {"kind": "image", "size": 8}}
    (folder / "model.json").write_text(json.dumps(about))
    return folder


@pytest.fixture
def plan() -> dict[str, Any]:
    """A plan in figures, of one phase."""
    whole = AllLayers(kind="all_layers", lr=0.1, rho=0.1, stages=1, epochs=4).plan(("stem",))
    return account(whole, {"stem": Size(9_408), "head": Size(2_592)}, 0.02, 100)


@pytest.fixture
def record(plan: dict[str, Any]) -> Callable[..., None]:
    """Write a whole run to an outbox: `record(root, key, model=None, epochs=3)`."""

    def write(root: Path, key: str = "k1", model: Path | None = None, epochs: int = 3) -> None:
        journal = Journal.open(key, "all_layers", "digits", root)
        journal.params({"training": {"batch_size": 32, "mixup": None}, "lr": 1e-3, "long": "x" * 7000})
        journal.plan(plan)
        journal.dataset("digits", "f" * 64, "data/digits", {"train": 200})
        for epoch in range(epochs):
            journal.metrics(epoch, {"train_loss": 1.0 / (epoch + 1)}, time_ms=1_700_000_000_000 + epoch)
        journal.summary({"test/accuracy": 0.9})
        if model is not None:
            journal.model(model, np.zeros((1, 8, 8, 3), np.uint8))
        journal.end()

    return write


@pytest.fixture
def look() -> SimpleNamespace:
    """Readers of a SQLite store."""
    return SimpleNamespace(rows=rows, runs=runs, points=points)


@pytest.fixture
def servers() -> SimpleNamespace:
    """Servers of all sorts."""
    return SimpleNamespace(hanging=hanging, free_port=free_port, mlflow=mlflow_server)


def rows(database: Path, query: str) -> list[tuple]:
    """The answer of a SQLite store, read without MLflow; nothing while the store is still being made."""
    if not database.exists():
        return []
    with closing(sqlite3.connect(database, timeout=30)) as connection, suppress(sqlite3.OperationalError):
        return sorted(connection.execute(query).fetchall())
    return []


def runs(database: Path) -> list[tuple]:
    """(run id, name, status) of every run in a store."""
    return rows(database, "SELECT run_uuid, name, status FROM runs")


def points(database: Path) -> list[tuple]:
    """(key, step, value) of every metric row."""
    return rows(database, "SELECT key, step, value FROM metrics")


@contextmanager
def hanging() -> Iterator[str]:
    """URI of a server that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0), backlog=50) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@contextmanager
def mlflow_server(folder: Path, port: int) -> Iterator[str]:
    """A real MLflow server with its store in `folder`."""
    uri = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{folder / 'server.db'}", "--artifacts-destination", str(folder)]
    # without its half a dozen job runners, which two cores would feel
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder, env=environment)
    try:
        _until_healthy(f"{uri}/health")
        yield uri
    finally:
        process.terminate()
        process.wait(30)


def _until_healthy(address: str) -> None:
    deadline = time.monotonic() + 120
    while True:
        try:
            with urllib.request.urlopen(address, timeout=2):
                return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.3)
