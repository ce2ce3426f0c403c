"""Which comparison and which experiment a run belongs to, and what compare says when MLflow refuses."""

from pathlib import Path

import pytest

from tlpipe.tracking import PARENT_KEY, Journal, RunPayload, code_tags, ensure_runs, link_runs, registry_said, why_not
from tlpipe.tracking import runs as module
from tlpipe.tracking.outbox import read_state, target, write_state
from tlpipe.tracking.publisher import once
from tlpipe.tracking.snapshot import read

STRATEGIES = ("head_only", "all_layers")
CLAIM = {
    "evidence": "f" * 64, "metric": "accuracy", "value": 0.9, "higher_is_better": True, "kind": "image_classification",
}  # fmt: skip


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Publishing replaced by a list of the folders that would be published."""
    seen: list[list[str]] = []
    monkeypatch.setattr(module, "publish", lambda folders, timeout: seen.append([folder.name for folder in folders]))
    return seen


def comparison(key: str, champion: str, **runs: str) -> list[RunPayload]:
    """A comparison and its strategies by their run keys, as the compare stage makes them."""
    below = [
        RunPayload(
            run_key=run, name=name, summary={"test/accuracy": 0.5},
            tags={**code_tags(), PARENT_KEY: key, "champion": "yes" if name == champion else "no"},
        )
        for name, run in runs.items()
    ]  # fmt: skip
    return [RunPayload(run_key=key, name="comparison", tags=code_tags()), *below]


def record(payloads: list[RunPayload], root: Path) -> None:
    """As the compare stage does it."""
    link_runs(payloads, ensure_runs(payloads, "digits", 1.0, root), "digits", 1.0, root)


def test_a_strategy_that_was_not_retrained_is_linked_and_stays(root: Path, published: list[list[str]]):
    record(comparison("one", "head_only", head_only="h", all_layers="a1"), root)
    assert published == [["one", "h", "a1"]]
    record(comparison("two", "head_only", head_only="h", all_layers="a2"), root)
    (link,) = published[2]
    tags = {name: read(root / name).tags for name in ("h", "a1", "a2", link)}
    assert {name: each[PARENT_KEY] for name, each in tags.items()} == {
        "h": "one",
        "a1": "one",
        "a2": "two",
        link: "two",
    }
    assert {name: each["champion"] for name, each in tags.items()} == {"h": "yes", "a1": "no", "a2": "no", link: "yes"}
    assert tags[link]["tlpipe.linked_key"] == "h"
    assert read(root / link).name == "head_only (linked)"
    assert read(root / link).latest == {"test/accuracy": 0.5}


def test_the_champion_of_a_comparison_does_not_change_with_the_next(root: Path, published: list[list[str]]):
    record(comparison("one", "head_only", head_only="h", all_layers="a1"), root)
    record(comparison("two", "all_layers", head_only="h", all_layers="a2"), root)
    found = [read(folder).tags for folder in root.iterdir()]
    for key in ("one", "two"):
        assert [each.get("champion") for each in found if each.get(PARENT_KEY) == key].count("yes") == 1
    record(comparison("one", "all_layers", head_only="h", all_layers="a1"), root)  # judged anew: all of it follows
    assert (read(root / "h").tags["champion"], read(root / "a1").tags["champion"]) == ("no", "yes")


def test_what_mlflow_knows_of_a_run_counts_more_than_the_journal(root: Path, published: list[list[str]]):
    """A clone's outbox is empty, the store is not."""
    ensure_runs(payloads := comparison("two", "head_only", head_only="h"), "digits", 1.0, root)
    write_state(root / "h", target("digits", root).key, {"run_id": "abc", "parent": "one"})
    link_runs(payloads, {"h": "abc"}, "digits", 1.0, root)
    (link,) = published[-1]
    assert read(root / link).tags["tlpipe.linked_run"] == "abc"


def test_the_experiment_is_that_of_the_training(
    root: Path, published: list[list[str]], monkeypatch: pytest.MonkeyPatch
):
    journal = Journal.open("h", "head_only", "digits", root)
    journal.tags(code_tags())
    journal.end()
    monkeypatch.setenv("DVC_EXP_NAME", "busty-tong")
    monkeypatch.setenv("DVC_EXP_BASELINE_REV", "c" * 40)
    record(comparison("one", "head_only", head_only="h", all_layers="a"), root)
    assert "dvc.experiment" not in read(root / "h").tags
    for name in ("one", "a"):
        tags = read(root / name).tags
        assert (tags["dvc.experiment"], tags["dvc.baseline"]) == ("busty-tong", "c" * 40)
    monkeypatch.setenv("DVC_EXP_NAME", "later-one")
    record(comparison("one", "head_only", head_only="h", all_layers="a"), root)
    assert read(root / "a").tags["dvc.experiment"] == "busty-tong"


def test_what_the_registry_said_before_is_not_said_again(root: Path, published: list[list[str]]):
    claim = RunPayload(run_key="h", name="head_only", champion=CLAIM)
    key = target("digits", root).key
    ensure_runs([claim], "digits", 1.0, root)
    write_state(root / "h", key, {"champion": "version 1 has the alias now", "complete": True})
    write_state(root / "h", key, {"bytes": (root / "h/journal.jsonl").stat().st_size})
    assert registry_said("h", root) == "version 1 has the alias now"
    ensure_runs([claim], "digits", 1.0, root)  # nobody answers within the time
    assert registry_said("h", root) == ""


def test_why_mlflow_does_not_have_a_run(root: Path, published: list[list[str]]):
    ensure_runs([RunPayload(run_key="h", name="head_only"), RunPayload(run_key="a", name="all_layers")], "d", 1.0, root)
    for name in ("h", "a"):
        problem = "INVALID_PARAMETER_VALUE: no\nand a traceback"
        write_state(root / name, target("d", root).key, {"complete": False, "problem": problem, "champion": None})
    assert why_not({"h": "head_only", "a": "all_layers"}, root) == {
        "INVALID_PARAMETER_VALUE: no": ["head_only", "all_layers"]
    }
    assert registry_said("h", root) == "not asked, as MLflow does not have the run: INVALID_PARAMETER_VALUE: no"


def test_a_refusal_takes_back_what_the_registry_said(root: Path, monkeypatch: pytest.MonkeyPatch):
    """Nothing answers at this address."""
    monkeypatch.setattr(module, "publish", lambda folders, timeout: once(folders))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    key = target("digits", root).key
    ensure_runs([RunPayload(run_key="h", name="head_only")], "digits", 1.0, root)
    write_state(root / "h", key, {"champion": "version 1 has the alias now", "complete": True})
    ensure_runs([RunPayload(run_key="h", name="head_only")], "digits", 1.0, root)
    assert read_state(root / "h")[key]["champion"] is None
    assert "nothing answers at http://127.0.0.1:9" in registry_said("h", root)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_two_experiments_in_a_real_store(root: Path, monkeypatch: pytest.MonkeyPatch):
    from mlflow import MlflowClient

    monkeypatch.setattr(module, "publish", lambda folders, timeout: once(folders))
    record(comparison("one", "head_only", head_only="h", all_layers="a1"), root)
    monkeypatch.setenv("DVC_EXP_NAME", "busty-tong")
    record(comparison("two", "head_only", head_only="h", all_layers="a2"), root)
    for folder in list(root.iterdir()):  # as on another machine, whose outbox knows nothing of the first comparison
        if folder.name == "h":
            (folder / "journal.jsonl").unlink()
            (folder / "published.json").unlink()
    record(comparison("two", "head_only", head_only="h", all_layers="a2"), root)
    client = MlflowClient(f"sqlite:///{root.parents[1]}/mlflow.db")
    runs = {run.data.tags["tlpipe.run_key"]: run for run in client.search_runs(["1"])}
    ids = {key: run.info.run_id for key, run in runs.items()}
    below = {key: run.data.tags.get("mlflow.parentRunId") for key, run in runs.items()}
    (link,) = runs.keys() - {"one", "two", "h", "a1", "a2"}
    assert below == {"one": None, "two": None, "h": ids["one"], "a1": ids["one"], "a2": ids["two"], link: ids["two"]}
    assert runs[link].data.tags["tlpipe.linked_run"] == ids["h"]
    for key in ("one", "two"):
        champions = [run for run in runs.values() if run.data.tags.get("mlflow.parentRunId") == ids[key]]
        assert [run.data.tags["champion"] for run in champions].count("yes") == 1
    assert {key: runs[key].info.run_name for key in ("one", "two", "h", "a2", link)} == {
        "one": "comparison", "two": "comparison (busty-tong)", "h": "head_only", "a2": "all_layers (busty-tong)",
        link: "head_only (linked) (busty-tong)",
    }  # fmt: skip
