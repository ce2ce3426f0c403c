"""Questions through the whole pipeline, with the advice as a strategy: no race, and one between those that are tied."""

import json
from typing import Any

import pytest

from tests.asked import articles, context
from tests.pipeline.advised import check_auto
from tests.pipeline.conftest import Project, make_project

pytestmark = pytest.mark.slow
CHANGES = {
    "task.stride": 4,
    "task.longest_question": 6,
    "task.longest_answer": 8,
    "data.source": {"kind": "squad", "path": "data/mine", "file": "a.json"},
    "data.split": {"validation": 0.25, "test": 0.25, "seed": 0},
    "data.limit_per_class": None,
    "backbone.corpus": ["data/corpus/text.txt"],
    "backbone.size.layers": 2,
    "backbone.size.width": 16,
    "backbone.size.heads": 2,
    "backbone.size.vocabulary": 150,
    "backbone.max_length": 24,
    "backbone.epochs": 1,
    "backbone.batch_size": 8,
    "runtime.threads": 1,
    "runtime.precision": "fp32",
    "head.penalties": [0.01, 0.0001],
    "training.seeds": 1,
    "strategies": ["head_only", "auto", "raced"],
    "finetune": {
        "head_only": {"kind": "head_only"},
        "all_layers": {"kind": "all_layers", "lr": 3e-3, "gamma": 0.8, "stages": 1, "stage_epochs": None, "epochs": 8},
        "scratch": {"kind": "scratch", "lr": 3e-3, "epochs": 8},
        "raced": {"kind": "auto", "race": True},
        "auto": {"kind": "auto", "race": False},
    },
    "evaluate.resamples": 100,
    "compare.resamples": 100,
    "export.samples": 8,
    "tracking.enabled": True,
}


@pytest.fixture(scope="module")
def questions(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with made questions, and their contexts to pretrain on."""
    project = make_project(
        tmp_path_factory.mktemp("questions") / "project", CHANGES, "recipes/question_answering_bert.yaml"
    )
    (project.folder / "data/mine").mkdir(parents=True)
    (project.folder / "data/mine/a.json").write_text(json.dumps({"data": articles(24)}))
    text = "\n\n".join(f"{context(number)}\n{context(number + 100)}" for number in range(40))
    (project.folder / "data/corpus/text.txt").write_text(text)
    return project


def test_advice_on_questions_trains_a_model(questions: Any) -> None:
    questions.repro()
    strategies = questions.json("reports/comparison.json")["strategies"]
    check_auto(questions, "place_accuracy", strategies["auto"]["test"]["f1"]["value"])
    assert questions.json("reports/parity.json")["passed"]
    assert questions.json("models/finetuned/raced/model.json")["strategy"] == "raced"
    assert strategies["auto"]["mlflow_run_id"]
    page = (questions.folder / "reports/report.html").read_text()
    assert "advised<br>place accuracy" in page
    assert "(another figure)" in page
    said, written = questions.plans()
    assert written == said
    assert questions.repro() == []
