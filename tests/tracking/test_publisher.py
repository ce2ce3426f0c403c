"""Publishing to a real SQLite store; in this process, so that mlflow is imported once."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from tlpipe.tracking import Journal, pending
from tlpipe.tracking.outbox import STATE, read_state
from tlpipe.tracking.publisher import once

# what MLflow does with SQLAlchemy is not ours to mend
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]
POINTS = [("test/accuracy", 0, 0.9), ("train_loss", 0, 1.0), ("train_loss", 1, 0.5), ("train_loss", 2, 1 / 3)]


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory):
    """A SQLite store with MLflow's schema: making one takes seconds, copying it does not."""
    from mlflow import MlflowClient

    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def store(root: Path, empty_store: Path):
    """The default store of the project, with its schema made."""
    return shutil.copyfile(empty_store, root.parents[1] / "mlflow.db")


def test_a_run_arrives_whole(root: Path, store: Path, record: Callable[..., None], look: SimpleNamespace, plan: dict):
    record(root)
    once([root / "k1"])
    assert [run[1:] for run in look.runs(store)] == [("all_layers", "FINISHED")]
    assert look.points(store) == POINTS
    params = dict(look.rows(store, "SELECT key, value FROM params"))
    assert params["training.batch_size"] == "32"
    assert params["long"].endswith("(whole value: artifact params/long.txt)")
    assert look.rows(store, "SELECT name, digest FROM datasets") == [("digits", "f" * 12)]
    tags = dict(look.rows(store, "SELECT key, value FROM tags"))
    assert tags["tlpipe.run_key"] == "k1"
    artifacts = root.parents[1] / "mlartifacts/digits" / look.runs(store)[0][0] / "artifacts"
    assert (artifacts / "params/long.txt").read_text() == "x" * 7000
    assert json.loads((artifacts / "plan.json").read_text()) == plan
    assert pending(root) == []


def test_run_times_are_those_of_the_training(root: Path, store: Path, look: SimpleNamespace):
    journal = Journal.open("k1", "s", "digits", root)
    journal.end(time_ms=1_900_000_000_000)
    once([journal.folder])
    assert look.rows(store, "SELECT end_time FROM runs") == [(1_900_000_000_000,)]


@pytest.mark.parametrize("forget", [False, True])
def test_publishing_again_changes_nothing_even_without_the_state_file(
    root: Path, store: Path, record: Callable[..., None], look: SimpleNamespace, forget: bool
):
    record(root)
    once([root / "k1"])
    before = look.runs(store)
    if forget:
        (root / "k1" / STATE).unlink()
    once([root / "k1"])
    assert look.runs(store) == before
    assert look.points(store) == POINTS
    assert len(look.rows(store, "SELECT source_id FROM inputs")) == 1


def test_a_killed_training_is_marked_and_goes_on_in_the_same_run(root: Path, store: Path, look: SimpleNamespace):
    journal = Journal.open("k1", "s", "digits", root)
    journal.metrics(0, {"loss": 1.0})
    journal.close()
    once([journal.folder])
    assert [run[2] for run in look.runs(store)] == ["KILLED"]
    again = Journal.open("k1", "s", "digits", root)
    again.metrics(0, {"loss": 1.0})
    again.metrics(1, {"loss": 0.5})
    again.end()
    once([journal.folder])
    assert [run[2] for run in look.runs(store)] == ["FINISHED"]
    assert look.points(store) == [("loss", 0, 1.0), ("loss", 1, 0.5)]


def test_a_running_training_is_left_to_its_own_publisher(root: Path, store: Path, look: SimpleNamespace):
    journal = Journal.open("k1", "s", "digits", root)
    assert pending(root) == []
    once([journal.folder])
    assert look.runs(store) == []
    journal.close()


def test_another_experiment_gets_a_run_of_its_own(
    root: Path, store: Path, record: Callable[..., None], look: SimpleNamespace
):
    record(root)
    once([root / "k1"])
    journal = Journal.open("k1", "all_layers", "second", root)
    journal.end()
    once([root / "k1"])
    assert len(look.runs(store)) == 2
    assert look.points(store) == sorted(POINTS * 2)
    assert len(read_state(root / "k1")) == 2


def test_hundreds_of_params_and_thousands_of_points(root: Path, store: Path, look: SimpleNamespace):
    journal = Journal.open("k1", "s", "digits", root)
    journal.params({f"p{i}": i for i in range(250)})
    for step in range(1200):
        journal.metrics(step, {"loss": float(step)})
    journal.end()
    once([journal.folder])
    assert len(look.rows(store, "SELECT key FROM params")) == 250
    assert len(look.points(store)) == 1200


def test_the_model_is_logged_once_with_signature_and_example(
    root: Path, store: Path, record: Callable[..., None], look: SimpleNamespace, model: Path
):
    from mlflow.models import Model

    record(root, model=model)
    once([root / "k1"])
    (root / "k1" / STATE).unlink()
    once([root / "k1"])
    query = "SELECT name, artifact_location, lifecycle_stage FROM logged_models"
    ((name, location, stage),) = look.rows(store, query)
    assert (name, stage) == ("all_layers", "active")
    logged = Model.load(location.removeprefix("file://"))
    assert logged.signature.inputs.inputs[0].shape == (-1, -1, -1, 3)
    assert str(logged.signature.inputs.inputs[0].type) == "uint8"
    assert logged.signature.outputs.inputs[0].shape == (-1, 3)
    assert logged.metadata == {"labels": ["cat", "dog", "eel"]}
    assert logged.saved_input_example_info["type"] == "ndarray"
    code = Path(location.removeprefix("file://")) / "code/tlpipe"
    assert (code / "train/model.py").is_file()
    assert not list(code.rglob("__pycache__"))
    assert not (root / "k1/model").exists()
    assert look.points(store) == POINTS
    assert look.rows(store, "SELECT metric_name, metric_value FROM logged_model_metrics") == [("test/accuracy", 0.9)]


def test_a_half_uploaded_model_is_replaced(
    root: Path,
    store: Path,
    record: Callable[..., None],
    look: SimpleNamespace,
    model: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    from mlflow import MlflowClient

    def fail(*_: object):
        raise ConnectionError("the cable is out")

    record(root, model=model)
    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "log_model_artifacts", fail)
        patch.setattr("tlpipe.tracking.publisher.ATTEMPTS", 1)
        once([root / "k1"])
    (entry,) = read_state(root / "k1").values()
    assert (entry["problem"], entry["complete"]) == ("the cable is out", False)
    once([root / "k1"])
    assert len(look.rows(store, "SELECT name FROM logged_models WHERE lifecycle_stage = 'active'")) == 1
    assert look.points(store) == POINTS


def test_a_model_that_is_gone_is_said(root: Path, store: Path, record: Callable[..., None], model: Path):
    record(root, model=model)
    shutil.rmtree(root / "k1/model")
    shutil.rmtree(model)
    once([root / "k1"])
    (entry,) = read_state(root / "k1").values()
    assert "is there any more" in entry["problem"]


def test_a_deleted_experiment_is_named(
    root: Path, store: Path, record: Callable[..., None], monkeypatch: pytest.MonkeyPatch
):
    from mlflow import MlflowClient

    monkeypatch.setattr("tlpipe.tracking.publisher.ATTEMPTS", 1)
    client = MlflowClient(f"sqlite:///{store}")
    client.delete_experiment(client.create_experiment("digits"))
    record(root)
    once([root / "k1"])
    (entry,) = read_state(root / "k1").values()
    assert "'digits' was deleted" in entry["problem"]


def test_nothing_answers_and_nothing_is_lost(
    root: Path, record: Callable[..., None], servers: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{servers.free_port()}")
    record(root)
    once([root / "k1"])
    (entry,) = read_state(root / "k1").values()
    assert "nothing answers at http://127.0.0.1" in entry["problem"]
    assert pending(root) == [root / "k1"]


def test_a_store_that_a_killed_publisher_left_half_made_is_made_again(
    root: Path, record: Callable[..., None], look: SimpleNamespace
):
    store = root.parents[1] / "mlflow.db"
    record(root)
    left = store.with_name("mlflow.db.k1.new")
    left.write_bytes(b"half of a database")
    once([root / "k1"])
    assert look.points(store) == POINTS
    assert not left.exists()
