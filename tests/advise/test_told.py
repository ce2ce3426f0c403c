"""What `auto` is, is told for the params that the advice was given for, and for no others."""

import json
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tlpipe.advise.decision import Contender, Decision
from tlpipe.advise.told import outcome, told
from tlpipe.strategies.all_depth_head import AllDepthHead
from tlpipe.strategies.unfreeze import AllLayers

RAW: dict[str, Any] = {
    "data": {"split": {"validation": 0.25}},
    "backbone": {"kind": "letters"},
    "runtime": {"device": "auto"},
    "training": {"weight_decay": 0.02, "ema": None},
    "finetune": {"auto": {"kind": "auto", "race": True}},
    "advise": {"seed": 0},
    "compare": {"metric": "accuracy"},
}
READ = {
    "prepare": ("data",),
    "pretrain": ("backbone", "runtime"),
    "embed": ("runtime",),
    "advise": ("advise", "finetune", "training", "runtime"),
}
HEAD = Contender(name="head", epochs=0, predicted=0.9, spread=0.01, strategy=AllDepthHead(kind="all_depth_head"))
ALL = Contender(
    name="all", epochs=5, predicted=0.9, spread=0.02,
    strategy=AllLayers(kind="all_layers", lr=1e-3, rho=0.1, stages=1, epochs=20),
)  # fmt: skip


@pytest.fixture
def project(tmp_path: Path) -> Path:
    stages = {stage: {"params": {"params.yaml": {name: RAW[name] for name in read}}} for stage, read in READ.items()}
    YAML(typ="safe").dump({"schema": "2.0", "stages": stages}, tmp_path / "dvc.lock")
    Decision(contenders=(ALL, HEAD)).write(tmp_path / "data/advice/auto.json")
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports/advice.json").write_text(json.dumps({"recommended": "all"}))
    return tmp_path


def test_the_advice_for_these_params_is_told(project: Path) -> None:
    assert told("auto", RAW, project) == (ALL, HEAD)
    assert told("auto", {**RAW, "compare": {"metric": "macro_f1"}}, project) == (ALL, HEAD), "the advice reads it not"


@pytest.mark.parametrize("section", ["data", "backbone", "runtime", "training", "finetune", "advise"])
def test_advice_for_other_params_is_none(project: Path, section: str) -> None:
    assert told("auto", {**RAW, section: {"another": 1}}, project) == ()


@pytest.mark.parametrize("path", ["reports/advice.json", "data/advice/auto.json", "dvc.lock"])
def test_without_one_of_the_files_there_is_none(project: Path, path: str) -> None:
    (project / path).unlink()
    assert told("auto", RAW, project) == ()


def test_a_lock_from_before_the_first_advice_proves_nothing(project: Path) -> None:
    YAML(typ="safe").dump({"schema": "2.0", "stages": {}}, project / "dvc.lock")
    assert told("auto", RAW, project) == ()


def test_the_outcome_in_words() -> None:
    assert "comes with `dvc repro`" in outcome(())
    assert outcome((ALL,)) == "all, as reports/advice.json advises"
    assert outcome((ALL, HEAD)) == "a race of all (5 epochs at first) and head, as reports/advice.json advises"
