"""Tagged words through the whole pipeline, two processes a stage, to entities that the bundle finds."""

import csv
from pathlib import Path
from typing import Any

import pytest

from tests.pipeline.advised import check_auto
from tests.pipeline.conftest import Project, make_project
from tests.tagged import conll, sentence
from tlpipe.serve import Predictor

pytestmark = pytest.mark.slow
COUNTS = {"train": 60, "validation": 20, "test": 20}
CHANGES = {
    "data.source.path": "data/mine",
    "data.source.splits": {split: f"{split}.conll" for split in COUNTS},
    "data.checks.near_duplicates": None,
    "backbone.corpus": ["data/corpus/text.txt"],
    "backbone.size.width": 16,
    "backbone.size.vocabulary": 150,
    "backbone.max_length": 24,
    "backbone.epochs": 2,
    "backbone.batch_size": 8,
    "task.stride": 6,
    "runtime.processes": 2,
    "runtime.threads": 1,
    "runtime.precision": "fp32",
    "head.penalties": [0.01, 0.0001],
    "strategies": ["head_only", "all_layers", "auto"],
    "finetune": {
        "head_only": {"kind": "head_only"},
        "all_layers": {"kind": "all_layers", "lr": 3e-3, "gamma": 0.8, "stages": 2, "stage_epochs": 1, "epochs": 8},
        "scratch": {"kind": "scratch", "lr": 3e-3, "epochs": 12},
        "auto": {"kind": "auto", "race": True},
    },
    "evaluate.resamples": 100,
    "compare.resamples": 100,
    "export.samples": 8,
    "tracking.enabled": False,
}


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with tagged sentences of its own, and plain text of other ones to pretrain on."""
    folder = tmp_path_factory.mktemp("words") / "project"
    project, start = make_project(folder, CHANGES, "recipes/token_classification_bert.yaml"), 0
    (folder / "data/mine").mkdir(parents=True)
    for split, count in COUNTS.items():
        tagged = [sentence(seed) for seed in range(start, start + count)]
        (folder / "data/mine" / f"{split}.conll").write_text(conll(tagged))
        start += count
    plain = [[" ".join(word for word, _ in sentence(1000 + 4 * at + line)) for line in range(4)] for at in range(60)]
    (folder / "data/corpus/text.txt").write_text("\n\n".join("\n".join(lines) for lines in plain))
    return project


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_two_processes_train_a_tagger_from_text_to_answers(words: Any) -> None:
    words.repro()
    for stage in ("pretrain", "embed", "all_layers"):
        assert "2 processes" in words.json(f"reports/training/{stage}/timing.json")["device"]
    trained = rows(words.folder / "reports/training/pretrain/history.csv")
    assert float(trained[-1]["mlm_loss"]) < float(trained[0]["mlm_loss"])
    comparison, parity = words.json("reports/comparison.json"), words.json("reports/parity.json")
    found = {name: entry["test"]["entity_f1"]["value"] for name, entry in comparison["strategies"].items()}
    assert found["all_layers"] > 0.5
    check_auto(words, "entity_f1", found["auto"])
    assert parity["passed"]
    entities = Predictor(words.folder / "models/bundle", device="cpu")(["Emmy Noether ran in the old New York"])[0]
    assert {(each["text"], each["type"]) for each in entities["entities"]} & {
        ("Emmy Noether", "per"),
        ("New York", "place"),
    }
    said, written = words.plans()
    assert written == said
    assert words.repro() == []
