"""`auto` through the whole pipeline: advice, race, a kill in its midst, and the same bits as the winner alone."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.pipeline.conftest import Project
from tests.pipeline.test_kill import stage_of
from tlpipe.code.names import PACKAGE

pytestmark = pytest.mark.slow
CHANGES = {
    "strategies": ["head_only", "top_layers", "all_layers", "scratch", "auto"],
    "finetune.auto": {"kind": "auto", "race": True},
    "finetune.top_layers.epochs": 20,
    "finetune.all_layers.epochs": 40,
    "finetune.scratch.epochs": 60,
    "tracking.enabled": False,
}


def digest(folder: Path, name: str) -> str:
    return hashlib.sha256((folder / "models/finetuned" / name / "model.safetensors").read_bytes()).hexdigest()


def make_a_tie(project: Project) -> None:
    """Whatever the rules say, two trainings and the head are too close to call: in a copy of the package."""
    shutil.copytree(PACKAGE, project.folder / "tlpipe", ignore=shutil.ignore_patterns("__pycache__"))
    project.environment["PYTHONPATH"] = str(project.folder)
    path = project.folder / "tlpipe/advise/experience.json"
    rules = json.loads(path.read_text())
    for rule in rules["rules"].values():
        rule["sigma"] = 3.0
    path.write_text(json.dumps(rules))


def kill_in_the_race(project: Project) -> None:
    """SIGKILL the stage as soon as it has saved a state."""
    process = subprocess.Popen(
        ["dvc", "repro", "-s", "finetune@auto"], cwd=project.folder, env=project.environment,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    work, deadline, stage = project.folder / ".tlpipe/work/finetune-auto", time.monotonic() + 240, None
    while stage is None or not list(work.glob("*/state.pt")):
        stage = stage or stage_of(process.pid)
        assert process.poll() is None, "the race ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.002)
    os.kill(stage, signal.SIGKILL)
    assert process.wait() != 0


def test_auto_is_a_strategy_like_any_other_and_survives_a_kill(project: Any) -> None:
    project.set(CHANGES)
    make_a_tie(project)
    project.repro("head", "advise")
    kill_in_the_race(project)
    ran = set(project.repro())
    assert {"finetune@auto", "evaluate@auto", "compare", "report"} <= ran
    advice, timing = project.json("reports/advice.json"), project.json("reports/training/auto/timing.json")
    assert len(advice["tie"]) >= 2
    chosen = [lap["strategy"] for lap in timing["race"] if lap["chosen"]]
    assert len(chosen) == 1
    assert digest(project.folder, "auto") == digest(project.folder, chosen[0])
    assert project.json("models/finetuned/auto/model.json")["strategy"] == "auto"
    assert "auto" in project.json("reports/comparison.json")["strategies"]
    page = (project.folder / "reports/report.html").read_text()
    assert 'id="advice"' in page
    assert not list((project.folder / ".tlpipe/work/finetune-auto").rglob("state.pt"))
    assert project.repro() == []


def test_other_advice_trains_nothing_but_auto_anew(project: Any) -> None:
    project.set({"advise.seed": 5})
    assert set(project.repro()) <= {"check", "advise", "report"}
