import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tlpipe.tracking.journal import Journal, Recorder, clean, flatten
from tlpipe.tracking.outbox import JOURNAL, writer_lives
from tlpipe.tracking.snapshot import Tail, read


@pytest.fixture
def journal(root: Path):
    opened = Journal.open("k1", "all_layers", "digits", root)
    yield opened
    opened.close()


def test_a_run_reads_back(root: Path, record: Callable[..., None]):
    record(root)
    snapshot = read(root / "k1")
    assert (snapshot.run_key, snapshot.name, snapshot.experiment) == ("k1", "all_layers", "digits")
    assert snapshot.params["training.batch_size"] == "32"
    assert snapshot.params["training.mixup"] == "null"
    assert [(p.key, p.step, p.value) for p in snapshot.points[:2]] == [("train_loss", 0, 1.0), ("train_loss", 1, 0.5)]
    assert snapshot.latest == {"test/accuracy": 0.9}
    assert snapshot.status == "FINISHED"


def test_resumed_training_repeats_epochs_and_nothing_doubles(root: Path):
    first = Journal.open("k1", "s", "e", root)
    for epoch in range(4):
        first.metrics(epoch, {"loss": float(epoch)}, time_ms=epoch)
    first.close()
    again = Journal.open("k1", "s", "e", root)
    for epoch in range(2, 6):
        again.metrics(epoch, {"loss": float(epoch)}, time_ms=100 + epoch)
    again.end()
    assert [(p.step, p.time) for p in read(root / "k1").points] == [(0, 0), (1, 1), (2, 2), (3, 3), (4, 104), (5, 105)]


def test_a_torn_line_is_ignored_and_repaired(root: Path, journal: Journal):
    journal.metrics(0, {"loss": 1.0})
    journal.close()
    path = root / "k1" / JOURNAL
    path.write_bytes(path.read_bytes() + b'{"kind": "metrics", "st')
    assert len(read(root / "k1").points) == 1
    again = Journal.open("k1", "s", "e", root)
    again.metrics(1, {"loss": 0.5})
    again.close()
    assert [p.step for p in read(root / "k1").points] == [0, 1]
    for line in path.read_text().splitlines():
        json.loads(line)


def test_the_tail_takes_whole_lines_only(root: Path, journal: Journal):
    tail = Tail(journal.folder)
    tail.read()
    journal.metrics(0, {"loss": 1.0})
    with (journal.folder / JOURNAL).open("ab") as file:
        file.write(b'{"kind": "tags"')
        file.flush()
        assert len(tail.read().points) == 1
        assert tail.read().tags == {}
        file.write(b', "time": 5, "values": {"a": "b"}}\n')
    assert tail.read().tags == {"a": "b"}


def test_a_changed_final_figure_is_told_again_an_equal_one_is_not(journal: Journal):
    journal.summary({"test/accuracy": 0.8, "nan": float("nan")})
    journal.summary({"test/accuracy": 0.8, "nan": float("nan")})
    journal.summary({"test/accuracy": 0.9})
    finals = read(journal.folder).finals
    assert [(p.key, p.value) for p in finals if p.key != "nan"] == [("test/accuracy", 0.8), ("test/accuracy", 0.9)]
    assert sum(p.key == "nan" for p in finals) == 1


def test_long_params_become_artifacts(journal: Journal):
    journal.params({"a": {"b": "y" * 6001}})
    snapshot = read(journal.folder)
    assert snapshot.params["a.b"].endswith("(whole value: artifact params/a.b.txt)")
    assert (journal.folder / "files/params/a.b.txt").read_text() == "y" * 6001


def test_names_are_made_fit_for_mlflow():
    assert clean("a[0]/../b(c)") == "a_0_/b_c_"
    assert clean("../../etc") == "etc"
    assert clean("") == "_"
    assert len(clean("n" * 400)) == 250


def test_flatten_keeps_lists_and_empty_mappings():
    assert flatten({"a": {"b": [1, 2], "c": {}}, "d": True}) == {"a.b": "[1, 2]", "a.c": "{}", "d": "true"}


def test_artifacts_survive_their_originals(journal: Journal, tmp_path: Path):
    figure = tmp_path / "confusion.png"
    figure.write_bytes(b"png")
    journal.artifact(figure, "figures")
    figure.unlink()
    assert (journal.folder / "files/figures/confusion.png").read_bytes() == b"png"


def test_the_model_is_copied_with_its_example(journal: Journal, model: Path):
    journal.model(model, np.full((1, 2, 2, 3), 7, np.uint8))
    assert (journal.folder / "model/model.safetensors").read_bytes() == (model / "model.safetensors").read_bytes()
    assert np.load(journal.folder / "example.npy").max() == 7


def test_what_cannot_be_recorded_is_a_warning_and_training_goes_on(journal: Journal, tmp_path: Path):
    with pytest.warns(RuntimeWarning, match="could not record artifact"):
        journal.artifact(tmp_path / "absent.png")
    with pytest.warns(RuntimeWarning, match="could not record model"):
        journal.model(tmp_path / "absent")


def test_the_plan_is_data_tables_and_a_description(journal: Journal, plan: dict):
    journal.plan(plan)
    files = journal.folder / "files"
    assert json.loads((files / "plan.json").read_text()) == plan
    for name, rows in (("plan_table.json", plan["rows"]), ("plan_totals.json", plan["totals"])):
        table = json.loads((files / name).read_text())
        assert [dict(zip(table["columns"], row, strict=True)) for row in table["data"]] == rows
    tags = read(journal.folder).tags
    assert [each["path"] for each in json.loads(tags["mlflow.loggedArtifacts"])] == [
        "plan_table.json",
        "plan_totals.json",
    ]


def test_the_system_knows_when_the_writer_is_gone(journal: Journal):
    assert writer_lives(journal.folder)
    journal.end()
    assert not writer_lives(journal.folder)


def test_a_recorder_takes_every_call_of_a_journal(tmp_path: Path):
    off = Recorder()
    for name in ("params", "summary", "tags", "plan", "artifact", "model"):
        getattr(off, name)({})
    off.metrics(0, {})
    off.dataset("a", "b", "c")
    off.end()
    assert {name for name in vars(Recorder) if not name.startswith("_")} <= set(dir(Journal))
