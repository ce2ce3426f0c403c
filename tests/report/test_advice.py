"""The advice on the page, beside what the strategies reached."""

import json
import shutil
from pathlib import Path

import pytest

from tlpipe.report.advice import advice_facts
from tlpipe.report.collect import collect, read_json
from tlpipe.report.render import against_scratch, render, transfer

POINTS = [(20, 0.5, True), (40, 0.6, True), (80, 0.65, True), (160, 0.7, False), (320, 0.72, False)]
ADVICE = {
    "score": "accuracy",
    "recommended": "all_layers",
    "ranking": [
        {
            "strategy": "all_layers", "kind": "all_layers", "predicted": 0.871, "sigma": 0.02, "measured": False,
            "cost_seconds": 42.0, "reasons": ["much is left <to> gain", "few samples"],
        },
        {
            "strategy": "elsewhere", "kind": "head_only", "predicted": 0.7, "sigma": 0.01, "measured": True,
            "cost_seconds": 0.4, "reasons": ["measured"],
        },
    ],
    "tie": ["all_layers", "elsewhere"],
    "region": {"name": "small and similar", "recipe": "head_only", "unfreeze": "none"},
    "evidence": {
        "all_depth_gap": 0.05, "transfer": {"value": 0.4, "low": 0.31, "high": 0.48}, "probed": 80,
        "all_depths": {"accuracy": 0.7}, "random_weights": {"accuracy": 0.3}, "linearised": 0.65, "input_shift": 0.5,
        "parameters_per_sample": 50.0,
        "learning_curve": [
            {"samples": count, "accuracy": value, "low": value - 0.05, "high": value + 0.05, "measured": measured}
            for count, value, measured in POINTS
        ]
    },
    "experience": {"targets": ["a", "b"], "cells": 12, "most_cells": 49},
}  # fmt: skip


def test_without_advice_there_is_no_section(made: Path) -> None:
    facts = collect(made)
    assert facts["advice"] is None
    assert 'id="advice"' not in render(facts)


def test_the_ranking_stands_beside_what_was_reached(made: Path, tmp_path: Path) -> None:
    root = tmp_path / "project"
    shutil.copytree(made, root)
    (root / "reports/advice.json").write_text(json.dumps(ADVICE))
    comparison = read_json(root / "reports/comparison.json")
    reached = comparison["strategies"]["all_layers"]["seeds"]["test"]["accuracy"]["mean"]
    facts = advice_facts(root, comparison, "image_classification")
    assert facts is not None
    assert [row["reached"] for row in facts["ranking"]] == [reached, None]
    page = render(collect(root))
    for part in (
        "87.1 %",
        "not run",
        "all_layers and elsewhere were too close to call",
        "&lt;to&gt;",
        "12 to 49 measured",
    ):
        assert part in page
    for part in ("gap +5.0 %", "fine-tuning 65.0 %", "shift 0.50 standard", "50 parameters a"):
        assert part in page
    collected = collect(root)
    said = transfer(collected["advice"])
    assert said.startswith("Transfer helps: a frozen probe of all depths reaches accuracy 70.0 %")
    assert "random weights 30.0 %; that is +40.0 points (+31.0 to +48.0), paired over 80 labelled samples" in said
    assert against_scratch(collected) in page
    assert ", the same network without its pretrained weights, is " in against_scratch(collected)
    without = {**collected, "strategies": [each for each in collected["strategies"] if each["plan"]["start"] == "head"]}
    assert said in render(without)
    assert page.count("stroke-dasharray") > render(collect(made)).count("stroke-dasharray")


@pytest.mark.parametrize(
    ("low", "high", "answer"), [(0.01, 0.2, "helps"), (-0.1, 0.2, "is in doubt"), (-0.2, -0.01, "does harm")]
)
def test_whether_transfer_helped_is_what_the_interval_says(low: float, high: float, answer: str) -> None:
    evidence = {**ADVICE["evidence"], "transfer": {"value": (low + high) / 2, "low": low, "high": high}}
    assert transfer({"evidence": evidence, "title": "accuracy", "samples": "samples"}).startswith(f"Transfer {answer}:")
    assert transfer(None) == ""


def test_a_figure_that_evaluations_do_not_have_is_not_passed_off_as_theirs(made: Path, tmp_path: Path) -> None:
    root = tmp_path / "project"
    shutil.copytree(made, root)
    (root / "reports/advice.json").write_text(json.dumps({**ADVICE, "score": "place_accuracy"}))
    facts = collect(root)
    advice = advice_facts(root, facts["comparison"], "question_answering")
    page = render({**facts, "advice": advice})
    for part in ("advised<br>place accuracy", "test accuracy<br>(another figure)", "labelled questions", "assumption"):
        assert part in page
