"""Figures in the documentation: what `python -m benchmarks.report` makes from benchmarks/results, and nothing else."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.report import blocks, provenance, questions
from benchmarks.report.__main__ import README, ROOT, pages

RESULTS = ROOT / "benchmarks/results"
PAGES = pages()


@pytest.mark.parametrize("path", sorted(PAGES), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_page_has_the_figures_of_the_results(path: Path) -> None:
    assert path.read_text(encoding="utf-8") == PAGES[path], "run: python -m benchmarks.report"


def test_the_overview_is_short_and_no_results_file_is_left_out() -> None:
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 100
    shown = {name for question in questions.QUESTIONS for name in question.results}
    committed = {path.stem for path in RESULTS.glob("*.json")} - {"provenance"}
    assert committed <= shown
    assert set(provenance.provenance()) == committed


def test_other_results_are_other_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    results = questions.read("recipes")
    results["solar_cells"]["strategies"]["scratch"]["value"] = 0.999
    monkeypatch.setattr(blocks, "read", lambda name: results)
    page = "# A\n\n<!-- figures: solar_cells -->\n<!-- end of figures -->\nend\n"
    assert "0.999 [" in blocks.filled(page)
    assert blocks.without(blocks.filled(page)) == "# A\n\n\nend\n"
    with pytest.raises(KeyError, match="nothing"):
        blocks.filled(page.replace("solar_cells", "nothing"))


def test_a_goal_without_a_result_is_not_met() -> None:
    claims = list(questions.peers({}))
    assert [(claim.figure, claim.met) for claim in claims] == [(questions.NONE, "no")]
    verdicts: dict[str, Any] = {"head": {"fastai": {"ratio": 0.04, "met": True}}}
    first, *others = questions.peers({"verdicts": verdicts})
    assert (first.figure, first.met) == ("0.040", "yes")
    assert {claim.figure for claim in others} == {questions.NONE}


def test_the_interval_of_a_difference() -> None:
    value, low, high = questions.difference("1110", "1010")
    assert value == 25
    assert low < 0 < high
    same = questions.difference("1" * 100, "1" * 100)
    assert same[0] == 0
    assert same[1] == -same[2] < 0


def test_who_writes_results_leaves_command_and_commit(tmp_path: Path) -> None:
    provenance.stamp(tmp_path / "new.json", "python -m benchmarks.new", "a machine")
    entry = json.loads((tmp_path / "provenance.json").read_text())["new"]
    assert entry["command"] == "python -m benchmarks.new"
    assert entry["commit"]
