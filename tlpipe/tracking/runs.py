"""Whole runs from what a training left on disk: for stages that DVC restored from its cache, for a changed store."""

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tlpipe.csv_files import read_columns
from tlpipe.locks import held
from tlpipe.tracking.journal import MODEL, Journal, clean, flatten, short
from tlpipe.tracking.launch import problem, publish, run_id
from tlpipe.tracking.outbox import (
    PUBLISHER_LOCK,
    is_published,
    read_state,
    run_folder,
    target,
    write_state,
    writer_lives,
)
from tlpipe.tracking.snapshot import CHAMPION, PARENT_KEY, Snapshot, read
from tlpipe.tracking.versions import BASELINE, EXPERIMENT, OF_THE_TRAINING, experiment_tags

NOT_CURVES = ("step", "phase", "epoch")


@dataclass(frozen=True)
class RunPayload:
    """Everything that a run shows in MLflow. What its journal has already is not recorded again."""

    run_key: str
    name: str
    """Shown in MLflow's table: the strategy."""
    params: Mapping[str, Any] = field(default_factory=dict)
    """Nested settings; flattened to dotted names."""
    history: Path | None = None
    """history.csv of the training: one line an epoch."""
    plan: Mapping[str, Any] = field(default_factory=dict)
    """What `strategies.counting.account` says of it."""
    summary: Mapping[str, float] = field(default_factory=dict)
    """Final figures (`test/accuracy`, `parameters/trainable`, …); a changed one replaces the former."""
    tags: Mapping[str, str] = field(default_factory=dict)
    dataset: tuple[str, str, str] | None = None
    """(name, digest, source) of the data."""
    artifacts: Sequence[tuple[Path, str]] = ()
    """(file, folder among the run's artifacts)."""
    model: Path | None = None
    """Model folder."""
    example: Any = None
    """Raw images uint8 (N, H, W, 3) for the model's input example."""
    champion: Mapping[str, Any] = field(default_factory=dict)
    """What `Journal.champion` takes, if the run won the comparison: its model is registered."""
    seconds: float = 0.0
    """How long the training took; places a rebuilt run in time."""


def ensure_runs(
    payloads: Sequence[RunPayload], experiment: str, timeout: float, root: Path | None = None
) -> dict[str, str | None]:
    """Make sure that each run exists and is complete in the current store; run id by run key.

    One process publishes them all. A run that MLflow does not have after `timeout` seconds gets None (or its id when
    only the rest of it is missing): it stays in the outbox and is published later.
    """
    folders = {payload.run_key: _record(payload, experiment, root) for payload in payloads}
    for payload in payloads:
        if payload.champion:
            _forget(folders[payload.run_key])
    publish(list(folders.values()), timeout)
    return {key: run_id(folder) for key, folder in folders.items()}


def ensure_run(payload: RunPayload, experiment: str, timeout: float, root: Path | None = None) -> str | None:
    """`ensure_runs` for one run."""
    return ensure_runs([payload], experiment, timeout, root)[payload.run_key]


def log_bundle(run_key: str, bundle: Path, timeout: float, root: Path | None = None) -> str:
    """Add the exported ONNX bundle to a recorded run, as an ONNX model. Returns a problem in words, or nothing.

    Call it after `ensure_runs`; when MLflow is away the bundle waits in the outbox with its run.
    """
    folder = run_folder(run_key, root)
    snapshot = read(folder)
    if not snapshot.run_key:
        return f"no run {run_key} is recorded in {folder.parent}: run the compare stage with tracking enabled first"
    journal = Journal(folder)
    journal.bundle(bundle)
    journal.end(time_ms=snapshot.ended)
    publish([folder], timeout)
    return "" if is_published(folder, target(snapshot.experiment, folder.parent).key) else problem(folder)


def registry_said(run_key: str, root: Path | None = None) -> str:
    """What the registry did, when it was last asked, about a run that claims to be the champion, in words.

    Empty while it has not been asked; why not, where MLflow refused the run.
    """
    folder = run_folder(run_key, root)
    state = read_state(folder).get(target(read(folder).experiment, folder.parent).key, {})
    if state.get("champion"):
        return str(state["champion"])
    refused = why_not({run_key: run_key}, root)
    return f"not asked, as MLflow does not have the run: {next(iter(refused))}" if refused else ""


def why_not(names: Mapping[str, str], root: Path | None = None) -> dict[str, list[str]]:
    """The names of runs (by run key) that MLflow does not have, by the reason."""
    reasons: dict[str, list[str]] = {}
    for key, name in names.items():
        folder = run_folder(key, root)
        if not is_published(folder, target(read(folder).experiment, folder.parent).key):
            reasons.setdefault(problem(folder).partition("\n")[0][:500], []).append(name)
    return reasons


def link_runs(
    payloads: Sequence[RunPayload], ids: Mapping[str, str | None], experiment: str, timeout: float, root: Path | None
) -> None:
    """Runs below the first of `payloads`, the comparison, that stand for those that belong to an earlier one.

    What was not trained anew stays where it is; the link has its figures, its id (of `ids`, by run key) and whether it
    is the champion here.
    """
    above, *below = payloads
    elsewhere = [payload for payload in below if parent_of(payload.run_key, root) not in ("", above.run_key)]
    links = [_link(payload, above.run_key, ids.get(payload.run_key)) for payload in elsewhere]
    if links:
        ensure_runs(links, experiment, timeout, root)


def parent_of(run_key: str, root: Path | None = None) -> str:
    """Run key of the comparison that a run belongs to: in MLflow, or else by its journal; empty if it has none."""
    folder = run_folder(run_key, root)
    snapshot = read(folder)
    state = read_state(folder).get(target(snapshot.experiment, folder.parent).key, {})
    return str(state.get("parent") or snapshot.tags.get(PARENT_KEY, ""))


def _link(payload: RunPayload, parent_key: str, run_id: str | None) -> RunPayload:
    note = f"Not trained for this comparison: it is the run {run_id or 'with the key ' + payload.run_key}."
    tags = {"tlpipe.linked_key": payload.run_key, "mlflow.note.content": note} | experiment_tags()
    if run_id:
        tags["tlpipe.linked_run"] = run_id
    return RunPayload(
        run_key=hashlib.sha256(f"link {parent_key} {payload.run_key}".encode()).hexdigest()[:32],
        name=f"{payload.name} (linked)",
        params=payload.params,
        summary=payload.summary,
        tags={PARENT_KEY: parent_key, CHAMPION: payload.tags.get(CHAMPION, "no"), **tags},
        dataset=payload.dataset,
    )


def _forget(folder: Path) -> None:
    """What the registry said before is not what it says now; a publisher that is at work writes the news itself."""
    key = target(read(folder).experiment, folder.parent).key
    with held(folder / PUBLISHER_LOCK) as got:
        if got and read_state(folder).get(key, {}).get("champion"):
            write_state(folder, key, {"champion": None})


def curve_values(record: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of one line of a history: what the curves show. The same for live and for rebuilt runs."""
    values = {}
    for key, value in record.items():
        if key not in NOT_CURVES and value not in (None, ""):
            values[key] = float(value)
    return values


def _record(payload: RunPayload, experiment: str, root: Path | None) -> Path:
    """Bring the run's journal up to the payload; writes nothing when it is."""
    folder = run_folder(payload.run_key, root)
    if folder.exists() and writer_lives(folder):
        return folder
    have = read(folder)
    journal = Journal(folder)
    began = have.started or int((time.time() - payload.seconds) * 1000)
    before = journal.size
    if (have.run_key, have.name, have.experiment) != (payload.run_key, payload.name, experiment):
        journal.write("start", began, run_key=payload.run_key, name=payload.name, experiment=experiment)
    _record_values(journal, payload, have, began)
    _record_files(journal, payload, have, experiment)
    if journal.size != before or have.status != "FINISHED":
        journal.end(time_ms=have.ended or began + int(payload.seconds * 1000))
    journal.close()
    return folder


def _record_values(journal: Journal, payload: RunPayload, have: Snapshot, began: int) -> None:
    if flatten(payload.params).keys() - have.params.keys():
        journal.params(payload.params)
    if payload.history is not None:
        _record_curves(journal, payload.history, have, began)
    known = {key: repr(value) for key, value in have.latest.items()}
    fresh = {key: v for key, v in payload.summary.items() if known.get(clean(key)) != repr(float(v))}
    if fresh:
        journal.summary(fresh)
    _record_tags(journal, payload.tags, have)
    if payload.champion and not _claimed(payload.champion, have):
        journal.champion(**payload.champion)
    if payload.dataset is not None and short(payload.dataset[1]) not in have.datasets:
        journal.dataset(*payload.dataset)


def _claimed(claim: Mapping[str, Any], have: Snapshot) -> bool:
    told = {**claim, "evidence": short(claim["evidence"]), "of": claim["kind"]}
    return have.champion == {key: value for key, value in told.items() if key != "kind"}


def _record_tags(journal: Journal, tags: Mapping[str, str], have: Snapshot) -> None:
    """A run of another comparison stays there, and one that was trained outside of this experiment is none of it."""
    moved = have.tags.get(PARENT_KEY, tags.get(PARENT_KEY)) != tags.get(PARENT_KEY)
    settled = {PARENT_KEY, CHAMPION} if moved else set()
    settled |= {EXPERIMENT, BASELINE} if "tlpipe.version" in have.tags else set()
    fresh = {
        key: value
        for key, value in tags.items()
        if key not in settled
        and have.tags.get(clean(key)) != value
        and not (key.startswith(OF_THE_TRAINING) and clean(key) in have.tags)
    }
    if fresh:
        journal.tags(fresh)


def _record_curves(journal: Journal, history: Path, have: Snapshot, began: int) -> None:
    seconds = 0.0
    for row in read_columns(history):
        seconds += float(row.get("seconds") or 0)
        step = int(float(row["step"]))
        values = {key: v for key, v in curve_values(row).items() if not have.has(clean(key), step)}
        if values:
            journal.metrics(step, values, began + int(seconds * 1000))


def _record_files(journal: Journal, payload: RunPayload, have: Snapshot, experiment: str) -> None:
    if payload.plan and "plan.json" not in have.artifacts:
        journal.plan(payload.plan)
    for path, folder in payload.artifacts:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        if have.artifacts.get(clean(f"{folder}/{path.name}")) != digest:
            journal.artifact(path, folder)
    published = is_published(journal.folder, target(experiment, journal.folder.parent).key)
    stale = MODEL in have.models and not published and not (journal.folder / MODEL).is_dir()
    if payload.model is not None and (MODEL not in have.models or stale):
        journal.model(payload.model, payload.example)
