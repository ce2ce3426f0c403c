"""The registry of a real SQLite store: who gets the alias, who does not and why; runs below their comparison."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tlpipe.tracking import PARENT_KEY, Journal, RunPayload, ensure_run, registry_said
from tlpipe.tracking import runs as module
from tlpipe.tracking.publisher import once
from tlpipe.tracking.snapshot import read

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]
CLAIM = {"test_set": "f" * 64, "metric": "accuracy", "value": 0.9, "higher_is_better": True}


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Publish in this process, so that mlflow is imported once."""
    monkeypatch.setattr(module, "publish", lambda folders, timeout: once(folders))


@pytest.fixture
def claim(root: Path, record: Callable[..., None], model: Path) -> Callable[..., str]:
    """A finished run that claims to be the champion."""

    def make(key: str, **changes: Any) -> str:
        described = (model / "model.json").read_text().replace("k1", key)
        folder = shutil.copytree(model, model.with_name(f"model-{key}"), dirs_exist_ok=True)
        (folder / "model.json").write_text(described)
        record(root, key, model=folder)
        return announce(root, key, {**CLAIM, **changes})

    return make


def announce(root: Path, key: str, claim: dict[str, Any]) -> str:
    """As the compare stage does it."""
    ensure_run(RunPayload(run_key=key, name="all_layers", champion=claim), "digits", 30.0, root)
    return registry_said(key, root)


def alias(root: Path) -> tuple[str, str]:
    """(version, run key) of who has it."""
    from mlflow import MlflowClient

    version = MlflowClient(f"sqlite:///{root.parents[1]}/mlflow.db").get_model_version_by_alias("digits", "champion")
    return str(version.version), version.tags["tlpipe.run_key"]


def test_the_alias_moves_only_to_what_is_better_on_the_same_test_set(root: Path, claim: Callable[..., str]) -> None:
    assert "version 1 of 'digits' has the alias 'champion' now" in claim("k1")
    assert "version 1 (all_layers) has accuracy 0.9000 on the same test set, this one 0.9000" in claim("k2")
    assert alias(root) == ("1", "k1")
    assert "version 3 of 'digits' has the alias 'champion' now" in claim("k3", value=0.91)
    assert alias(root) == ("3", "k3")
    said = claim("k4", value=0.99, test_set="e" * 64)
    assert "measured on another test set" in said
    assert "move the alias" in said
    assert "judged by accuracy, not by log_loss" in claim("k5", metric="log_loss", value=0.1, higher_is_better=False)
    assert alias(root) == ("3", "k3")


def test_registering_again_makes_no_second_version(root: Path, claim: Callable[..., str]) -> None:
    assert claim("k1").endswith("now")
    size = read(root / "k1").size
    assert announce(root, "k1", CLAIM) == "version 1 of 'digits' has the alias 'champion'"
    assert read(root / "k1").size == size
    (root / "k1" / "published.json").unlink()
    assert announce(root, "k1", CLAIM) == "version 1 of 'digits' has the alias 'champion'"
    assert alias(root) == ("1", "k1")


def test_a_run_is_shown_below_its_comparison(root: Path, record: Callable[..., None]) -> None:
    from mlflow import MlflowClient

    record(root, "above")
    record(root, "below")
    journal = Journal(root / "below")
    journal.tags({PARENT_KEY: "above"})
    journal.end()
    once([root / "above", root / "below"])
    client = MlflowClient(f"sqlite:///{root.parents[1]}/mlflow.db")
    found = {run.data.tags["tlpipe.run_key"]: run for run in client.search_runs(["1"])}
    assert found["below"].data.tags["mlflow.parentRunId"] == found["above"].info.run_id
    assert "mlflow.parentRunId" not in found["above"].data.tags


def test_a_store_without_a_registry_still_gets_the_run(
    root: Path, claim: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow.exceptions import MlflowException

    from tlpipe.tracking import champion, pending

    def refuse(*_: object) -> str:
        raise MlflowException("no registry here")

    monkeypatch.setattr(champion, "_crown", refuse)
    assert "not registered: no registry here" in claim("k1")
    assert pending(root) == []
