"""The description of a run: the plan in Markdown."""

from typing import Any

from tlpipe.strategies.counting import Size, account
from tlpipe.strategies.plan import Plan
from tlpipe.tracking.note import plan_note

LONGEST = 5000
"""Characters of a tag in MLflow."""


def test_totals_ratio_and_risk_stand_before_the_table(plan: dict[str, Any]):
    note = plan_note(plan)
    assert note.startswith("**The plan**: 12,000 of 12,000 parameters train (100.00%), from the head stage's model")
    assert "- 120 trainable parameters a training sample (100): high risk of overfitting" in note
    assert "| all | 4 | 12,000 | 1 | 0.1 |" in note
    assert note.endswith("| all | 4 | head | 2,592 | yes | 2,592 | all | 0.1 | 0.02 |")


def test_a_head_alone_has_no_rate_and_the_rest_is_frozen():
    alone = Plan(strategy="head_only", start="head", groups=("stem",), phases=())
    note = plan_note(account(alone, {"stem": Size(9_408), "head": Size(2_592)}, 0.02, 100))
    assert "| converged head | 0 | stem | 9,408 | no | 0 | frozen | frozen | frozen |" in note
    assert "| converged head | 0 | head | 2,592 | yes | 2,592 | all | none | none |" in note


def test_a_huge_plan_still_fits_a_tag_and_says_what_is_missing(plan: dict[str, Any]):
    huge = {**plan, "totals": plan["totals"] * 1000, "rows": plan["rows"] * 1000}
    note = plan_note(huge)
    assert len(note) <= LONGEST
    assert note.count("The rest is in the artifacts of the run.") == 2
    assert "| all | 4 | stem | 9,408 |" in note
