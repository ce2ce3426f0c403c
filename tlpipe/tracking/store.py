"""One run in an MLflow store. Every step asks what is already there, so that doing it twice does it once."""

import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, Experiment, InputTag, Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException

from tlpipe.tracking.outbox import Target
from tlpipe.tracking.snapshot import CHAMPION, PARENT_KEY, Point, Snapshot
from tlpipe.tracking.versions import BASELINE, EXPERIMENT

RUN_KEY = "tlpipe.run_key"
PARENT_RUN, RUN_NAME = "mlflow.parentRunId", "mlflow.runName"
KIND = {"mlflow.experimentKind": "custom_model_development"}
"""Tells the UI to open with runs and models, not with its chat tools."""
METRICS_A_BATCH, PARAMS_A_BATCH = 500, 100
T = TypeVar("T")


class TrackingError(RuntimeError):
    """MLflow cannot take the run as things are; the message says why and what to do."""


class Remote:
    """The run of one snapshot in one store, found by its run key or created."""

    def __init__(self, target: Target, snapshot: Snapshot) -> None:
        _make_schema(target.uri, snapshot.run_key)
        self.client = MlflowClient(tracking_uri=target.uri)
        self.experiment_id = _experiment(self.client, target)
        run = self._find(snapshot.run_key) or self._create(snapshot)
        self.run_id: str = run.info.run_id
        self._status: str = run.info.status
        self._name = str(run.info.run_name)
        self._parents: dict[str, str] = {}
        self._params = dict(run.data.params)
        self._tags = dict(run.data.tags)
        self._datasets = {entry.dataset.digest for entry in run.inputs.dataset_inputs}
        self._points = self._history(run.data.metrics)

    def _find(self, run_key: str) -> Run | None:
        query = f"tags.`{RUN_KEY}` = '{run_key}'"
        runs = self.client.search_runs([self.experiment_id], query, order_by=["attributes.start_time ASC"])
        # searching leaves out what the run was given, so the run is read again
        return self.client.get_run(runs[0].info.run_id) if runs else None

    def _create(self, snapshot: Snapshot) -> Run:
        tags = {RUN_KEY: snapshot.run_key} | snapshot.tags
        name = shown_name(snapshot.name, snapshot.tags.get(EXPERIMENT))
        return self.client.create_run(self.experiment_id, snapshot.started, tags, run_name=name)

    def _history(self, keys: Iterable[str]) -> set[tuple[str, int, int]]:
        found = (metric for key in keys for metric in self.client.get_metric_history(self.run_id, key))
        return {(metric.key, metric.step, metric.timestamp) for metric in found}

    def push(self, snapshot: Snapshot) -> None:
        """Send what the store lacks: tags, params, curves, figures, data sets and the status."""
        params = {key: value for key, value in snapshot.params.items() if key not in self._params}
        told = self._told(snapshot)
        tags = {key: value for key, value in told.items() if self._tags.get(key) != value}
        for part in batches(params.items(), PARAMS_A_BATCH):
            self.client.log_batch(self.run_id, params=[Param(key, value) for key, value in part])
        for part in batches(tags.items(), PARAMS_A_BATCH):
            self.client.log_batch(self.run_id, tags=[RunTag(key, value) for key, value in part])
        self._params |= params
        self._tags |= tags
        self._push_points([*snapshot.points, *snapshot.finals])
        self._push_datasets(snapshot)
        self.set_status(snapshot.status, snapshot.ended)

    @property
    def parent_key(self) -> str:
        """Run key of the comparison that the run belongs to; empty if it has none."""
        return str(self._tags.get(PARENT_KEY, ""))

    def _told(self, snapshot: Snapshot) -> dict[str, str]:
        """The tags that hold: a run belongs to the comparison and to the experiment that it was first told of."""
        settled = {EXPERIMENT, BASELINE} if "tlpipe.version" in self._tags else set()
        if self.parent_key not in ("", snapshot.tags.get(PARENT_KEY, self.parent_key)):
            settled |= {PARENT_KEY, CHAMPION}
        told = {key: value for key, value in snapshot.tags.items() if key not in settled}
        name = shown_name(snapshot.name, self._tags.get(EXPERIMENT, told.get(EXPERIMENT)))
        if self._name == snapshot.name != name:  # it was made before the experiment was known
            told[RUN_NAME] = name
        return told | self._parent(told.get(PARENT_KEY, ""))

    def _parent(self, key: str) -> dict[str, str]:
        """The tag that nests this run below the one with that key; nothing while the store does not have it."""
        if not key:
            return {}
        if key not in self._parents:
            found = self._find(key)
            self._parents |= {key: found.info.run_id} if found else {}
        return {PARENT_RUN: self._parents[key]} if key in self._parents else {}

    def _push_points(self, points: Sequence[Point]) -> None:
        fresh = [point for point in points if (point.key, point.step, point.time) not in self._points]
        for part in batches(fresh, METRICS_A_BATCH):
            self.client.log_batch(self.run_id, metrics=[Metric(p.key, p.value, p.time, p.step) for p in part])
            self._points |= {(p.key, p.step, p.time) for p in part}

    def _push_datasets(self, snapshot: Snapshot) -> None:
        for digest, record in snapshot.datasets.items():
            if digest not in self._datasets:
                self.client.log_inputs(self.run_id, [_dataset(record)])
                self._datasets.add(digest)

    def set_status(self, status: str, ended: int | None) -> None:
        """RUNNING, FINISHED, FAILED or KILLED; `ended` in milliseconds, None while it runs."""
        if status == self._status:
            return
        if ended is None:
            self.client.update_run(self.run_id, status=status)
        else:
            self.client.set_terminated(self.run_id, status, ended)
        self._status = status

    def push_artifact(self, folder: Path, name: str) -> None:
        """Send the file `folder`/files/`name` to the same name among the run's artifacts."""
        parent = str(Path(name).parent)
        self.client.log_artifact(self.run_id, str(folder / "files" / name), None if parent == "." else parent)


def shown_name(name: str, experiment: str | None) -> str:
    """What people see: the strategy, and DVC's name of the experiment where there is one."""
    return f"{name} ({experiment})" if experiment else name


def batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Consecutive lists of at most `size` items."""
    iterator = iter(items)
    while part := list(islice(iterator, size)):
        yield part


def _make_schema(uri: str, run_key: str) -> None:
    """Make a new SQLite store beside its place and move it there whole.

    MLflow's hundred migrations take seconds; a second process that arrives meanwhile, or a kill, would leave a
    half-made schema that nobody can open again.
    """
    path = Path(uri.removeprefix("sqlite:///"))
    if not uri.startswith("sqlite:///") or "?" in uri or path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f"{path.name}.{run_key[:16]}.new")
    new.unlink(missing_ok=True)  # of a killed publisher: this process holds the run's lock
    MlflowClient(tracking_uri=f"sqlite:///{new}").search_experiments(max_results=1)
    with suppress(FileExistsError):  # another publisher was faster
        os.link(new, path)
    new.unlink()


def _experiment(client: MlflowClient, target: Target) -> str:
    found: Experiment | None = client.get_experiment_by_name(target.experiment)
    if found is None:
        try:
            created: str = client.create_experiment(target.experiment, target.artifacts, tags=KIND)
        except MlflowException:
            # another publisher was faster; if not, the second look says what is wrong
            found = client.get_experiment_by_name(target.experiment)
            if found is None:
                raise
        else:
            return created
    if found.lifecycle_stage != "active":
        raise TrackingError(
            f"MLflow experiment {target.experiment!r} was deleted in {target.shown}; "
            "restore it there, or choose another name in params.yaml (tracking.experiment)"
        )
    return str(found.experiment_id)


def _dataset(record: dict[str, Any]) -> DatasetInput:
    source = json.dumps({"uri": record["source"]})
    profile = json.dumps(record["profile"]) if record["profile"] else None
    dataset = Dataset(record["name"], record["digest"], source_type="local", source=source, profile=profile)
    return DatasetInput(dataset, tags=[InputTag("mlflow.data.context", "training")])


def model_name(text: str) -> str:
    """A name that MLflow takes for a model: none of `/ : . % " '`."""
    return re.sub(r"[/:.%\"']", "_", text)
