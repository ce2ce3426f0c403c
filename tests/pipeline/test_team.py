"""Every kind of strategy that two processes may train together, in a real project."""

from pathlib import Path

import pytest

from tests.pipeline.conftest import SMALL, make_project

pytestmark = pytest.mark.slow
TOGETHER = {
    "all_depth_head": {"kind": "all_depth_head"},
    "all_depth_tuning": {"kind": "all_depth_tuning", "lr": 1e-3, "rho": 0.2, "epochs": 2},
    "first_block": {"kind": "first_block", "lr": 1e-3, "epochs": 2, "wise_ft": True},
    "norm_only": {"kind": "norm_only", "lr": 1e-3, "epochs": 2, "soup": 2},
    "lora": {"kind": "lora", "rank": 2, "lr": 1e-3, "epochs": 2},
}


CHANGES = {
    **SMALL, "finetune": TOGETHER, "strategies": list(TOGETHER), "runtime.processes": 2, "training.seeds": 1,
    "tracking.enabled": False,
}  # fmt: skip


def test_two_processes_train_every_kind_of_strategy_to_a_champion(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project", CHANGES)
    ran = project.repro("export")
    assert {f"finetune@{name}" for name in TOGETHER} <= set(ran)
    assert set(project.json("reports/comparison.json")["strategies"]) == set(TOGETHER)
    for name in TOGETHER:
        timing = project.json(f"reports/training/{name}/timing.json")
        assert "2 processes" in timing["device"], timing["device"]
    said, written = project.plans()
    assert set(said) == set(TOGETHER)
    assert written == said
    assert project.json("reports/parity.json")["passed"]
    said = project.run("tlpipe", "lr-range", "all_depth_tuning", "--steps", "20").stdout
    assert "suggested peak rate" in said
