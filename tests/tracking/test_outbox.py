from pathlib import Path

import pytest

from tlpipe.tracking.outbox import STATE, project, read_state, run_folder, target, write_state


def test_a_dvc_experiment_in_a_copy_belongs_to_the_project():
    assert project(Path("/home/me/project/.dvc/tmp/exps/tmpabc123")) == Path("/home/me/project")
    assert project(Path("/home/me/project/.dvc/tmp/exps/tmpabc123/sub")) == Path("/home/me/project")
    assert project(Path("/home/me/project")) == Path("/home/me/project")


def test_the_default_store_is_a_file_of_the_project(root: Path):
    place = target("my digits", root)
    assert place.uri == f"sqlite:///{root.parents[1]}/mlflow.db"
    assert place.artifacts == f"file://{root.parents[1]}/mlartifacts/my_digits"


def test_the_environment_decides_and_the_server_places_artifacts(root: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://me:secret@host/x")
    place = target("digits", root)
    assert (place.uri, place.artifacts) == ("https://me:secret@host/x", None)
    assert "secret" not in place.shown + place.key


def test_state_is_kept_per_target(root: Path):
    folder = run_folder("k1", root)
    folder.mkdir(parents=True)
    write_state(folder, "a", {"run_id": "1"})
    write_state(folder, "b", {"run_id": "2"})
    write_state(folder, "a", {"bytes": 5})
    assert read_state(folder) == {"a": {"run_id": "1", "bytes": 5}, "b": {"run_id": "2"}}
    assert [path.name for path in folder.iterdir()] == [STATE]


@pytest.mark.parametrize("content", ["", "{", "[1]"])
def test_a_damaged_state_file_counts_as_nothing_published(tmp_path: Path, content: str):
    (tmp_path / STATE).write_text(content)
    assert read_state(tmp_path) == {}


def test_a_run_key_cannot_leave_the_outbox(root: Path):
    assert run_folder("../../x", root).parent == root
