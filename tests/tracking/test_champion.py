"""The registry of a real SQLite store: who gets the alias, who does not and why; runs below their comparison."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tlpipe.evaluate.predictions import Predictions
from tlpipe.tracking import PARENT_KEY, Journal, RunPayload, ensure_run, registry_said
from tlpipe.tracking import runs as module
from tlpipe.tracking.publisher import once
from tlpipe.tracking.snapshot import read

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]
CLAIM = {
    "evidence": "f" * 64, "metric": "accuracy", "value": 0.9, "higher_is_better": True, "kind": "image_classification",
}  # fmt: skip


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Publish in this process, so that mlflow is imported once."""
    monkeypatch.setattr(module, "publish", lambda folders, timeout: once(folders))


@pytest.fixture
def claim(root: Path, record: Callable[..., None], model: Path) -> Callable[..., str]:
    """A finished run that claims to be the champion."""

    def make(key: str, right: int = 90, **changes: Any) -> str:
        described = (model / "model.json").read_text().replace("k1", key)
        folder = shutil.copytree(model, model.with_name(f"model-{key}"), dirs_exist_ok=True)
        (folder / "model.json").write_text(described)
        record(root, key, model=folder)
        return announce(root, key, {**CLAIM, **changes}, right)

    return make


def announce(root: Path, key: str, claim: dict[str, Any], right: int = 90) -> str:
    """As the compare stage does it, for a model that is right on the first `right` of 100 validation samples."""
    shares = np.where(np.arange(100)[:, None] < right, [0.9, 0.1], [0.1, 0.9])
    ids, labels = tuple(f"{index}.png" for index in range(100)), np.zeros(100, int)
    path = root.parents[1] / "evidence.csv"
    Predictions(("cat", "dog"), np.arange(100), ids, ("validation",) * 100, labels, shares).save(path)
    payload = RunPayload(run_key=key, name="all_layers", champion=claim, artifacts=[(path, "evaluation")])
    ensure_run(payload, "digits", 30.0, root)
    return registry_said(key, root)


def alias(root: Path) -> tuple[str, str]:
    """(version, run key) of who has it."""
    from mlflow import MlflowClient

    version = MlflowClient(f"sqlite:///{root.parents[1]}/mlflow.db").get_model_version_by_alias("digits", "champion")
    return str(version.version), version.tags["tlpipe.run_key"]


def test_the_alias_moves_only_to_what_is_shown_to_be_better_on_the_same_samples(
    root: Path, claim: Callable[..., str]
) -> None:
    assert "version 1 of 'digits' has the alias 'champion' now" in claim("k1")
    said = claim("k2", right=92, value=0.92)
    assert "accuracy on the same 100 validation samples is 0.9000 of version 1 (all_layers) and 0.9200" in said
    assert "does not show it to be better" in said
    assert alias(root) == ("1", "k1")
    assert "version 3 of 'digits' has the alias 'champion' now" in claim("k3", right=100, value=1.0)
    assert alias(root) == ("3", "k3")
    said = claim("k4", right=100, evidence="e" * 64)
    assert "validated on other samples" in said
    assert "move the alias" in said
    assert "judged by accuracy, not by log_loss" in claim("k5", metric="log_loss", value=0.1, higher_is_better=False)
    assert alias(root) == ("3", "k3")


def test_a_holder_whose_predictions_are_gone_keeps_the_alias(root: Path, claim: Callable[..., str]) -> None:
    claim("k1", right=50)
    for path in root.parents[1].rglob("artifacts/evaluation/evidence.csv"):
        path.unlink()
    said = claim("k2", right=100)
    assert "could not be compared" in said
    assert "move the alias" in said
    assert alias(root) == ("1", "k1")


def test_a_claim_of_an_older_version_registers_nothing(root: Path, record: Callable[..., None]) -> None:
    record(root, "k1")
    journal = Journal(root / "k1")
    journal.write("champion", None, test_set="f", metric="accuracy", value=1.0, higher_is_better=True)
    journal.end()
    once([root / "k1"])
    assert registry_said("k1", root).startswith("not registered: an older version")


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
