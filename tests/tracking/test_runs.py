"""Runs rebuilt from what lies on disk; publishing itself is test_publisher's and test_servers'."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tlpipe.tracking import Journal, RunPayload, ensure_run, ensure_runs, log_bundle
from tlpipe.tracking import runs as module
from tlpipe.tracking.outbox import target, write_state
from tlpipe.tracking.runs import curve_values
from tlpipe.tracking.snapshot import read

HISTORY = "step,phase,epoch,train_loss,validation_accuracy,seconds\n0,head,0,1.0,,2.5\n1,all,0,0.5,0.8,2.5\n"


@pytest.fixture(autouse=True)
def calls(monkeypatch: pytest.MonkeyPatch):
    """Publishing replaced by a list of what would be published."""
    seen = []
    monkeypatch.setattr(module, "publish", lambda folders, timeout: seen.append((list(folders), timeout)))
    return seen


@pytest.fixture
def payload(tmp_path: Path, model: Path, plan: dict[str, Any]):
    history = tmp_path / "history.csv"
    history.write_text(HISTORY)
    figure = tmp_path / "confusion.png"
    figure.write_bytes(b"png")
    return RunPayload(
        run_key="k1",
        name="all_layers",
        params={"lr": 0.1},
        history=history,
        plan=plan,
        summary={"test/accuracy": 0.9},
        tags={"dvc.stage": "finetune@all_layers"},
        dataset=("digits", "f" * 64, "data/digits"),
        artifacts=[(figure, "figures")],
        model=model,
        example=np.zeros((1, 2, 2, 3), np.uint8),
        seconds=5.0,
    )


def test_a_stage_from_the_cache_gets_a_whole_journal(root: Path, payload: RunPayload, calls: list[Any]):
    assert ensure_run(payload, "digits", 30.0, root) is None
    snapshot = read(root / "k1")
    assert [(p.key, p.step, p.value) for p in snapshot.points] == [
        ("train_loss", 0, 1.0),
        ("seconds", 0, 2.5),
        ("train_loss", 1, 0.5),
        ("validation_accuracy", 1, 0.8),
        ("seconds", 1, 2.5),
    ]
    assert snapshot.points[-1].time - snapshot.started == snapshot.ended - snapshot.started == 5000
    assert set(snapshot.artifacts) == {"plan.json", "plan_table.json", "plan_totals.json", "figures/confusion.png"}
    assert (snapshot.status, set(snapshot.models)) == ("FINISHED", {"model"})
    assert calls == [([root / "k1"], 30.0)]


def test_nothing_new_writes_nothing(root: Path, payload: RunPayload):
    ensure_run(payload, "digits", 1.0, root)
    size = read(root / "k1").size
    ensure_run(payload, "digits", 1.0, root)
    assert read(root / "k1").size == size


def test_a_live_journal_is_completed_not_repeated(root: Path, payload: RunPayload):
    journal = Journal.open("k1", "all_layers", "digits", root)
    journal.params({"lr": 0.1})
    journal.metrics(0, curve_values({"step": 0, "phase": "head", "train_loss": 1.0}))
    journal.end(time_ms=10**13)
    ensure_run(payload, "digits", 1.0, root)
    snapshot = read(root / "k1")
    assert [(p.key, p.step) for p in snapshot.points].count(("train_loss", 0)) == 1
    assert (root / "k1/journal.jsonl").read_text().count('"kind": "params"') == 1
    assert snapshot.ended == 10**13


def test_a_new_figure_replaces_and_a_new_experiment_moves(root: Path, payload: RunPayload):
    ensure_run(payload, "digits", 1.0, root)
    changed = RunPayload(run_key="k1", name="all_layers", summary={"test/accuracy": 0.95})
    ensure_run(changed, "second", 1.0, root)
    snapshot = read(root / "k1")
    assert (snapshot.latest, snapshot.experiment) == ({"test/accuracy": 0.95}, "second")
    assert snapshot.status == "FINISHED"


def test_the_model_is_copied_again_for_a_store_that_lacks_it(root: Path, payload: RunPayload):
    ensure_run(payload, "digits", 1.0, root)
    copy = root / "k1/model/model.json"
    copy.unlink()
    copy.parent.joinpath("model.safetensors").unlink()
    copy.parent.rmdir()
    ensure_run(payload, "digits", 1.0, root)
    assert copy.is_file()


def test_tags_of_the_training_stay_others_follow(root: Path):
    journal = Journal.open("k1", "s", "digits", root)
    journal.tags({"mlflow.source.git.commit": "a" * 40, "champion": "no"})
    journal.end()
    later = {"mlflow.source.git.commit": "b" * 40, "champion": "yes", "hardware.cores": "2"}
    ensure_run(RunPayload(run_key="k1", name="s", tags=later), "digits", 1.0, root)
    assert read(root / "k1").tags == {
        "mlflow.source.git.commit": "a" * 40,
        "champion": "yes",
        "hardware.cores": "2",
    }


def test_a_training_that_runs_now_is_left_alone(root: Path, payload: RunPayload):
    journal = Journal.open("k1", "all_layers", "digits", root)
    size = journal.size
    ensure_run(payload, "digits", 1.0, root)
    assert journal.size == size
    journal.close()


def test_ids_come_from_the_current_store(root: Path, payload: RunPayload, monkeypatch: pytest.MonkeyPatch):
    other = RunPayload(run_key="k2", name="scratch")
    ensure_runs([payload, other], "digits", 1.0, root)
    write_state(root / "k1", target("digits", root).key, {"run_id": "abc"})
    assert ensure_runs([payload, other], "digits", 1.0, root) == {"k1": "abc", "k2": None}
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    assert ensure_runs([payload, other], "digits", 1.0, root) == {"k1": None, "k2": None}


def test_a_bundle_waits_with_its_run(root: Path, payload: RunPayload, tmp_path: Path):
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    (bundle / "model.onnx").write_bytes(b"onnx")
    assert "run the compare stage" in log_bundle("k1", bundle, 1.0, root)
    ensure_run(payload, "digits", 1.0, root)
    assert "not finished yet" in log_bundle("k1", bundle, 1.0, root)
    assert (root / "k1/bundle/model.onnx").read_bytes() == b"onnx"
    assert set(read(root / "k1").models) == {"model", "bundle"}
