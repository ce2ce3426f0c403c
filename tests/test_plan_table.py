"""The plan table against numbers worked out by hand."""

import io

import pytest
from rich.console import Console

from tlpipe.plan_table import line, notes, rate, render
from tlpipe.strategies.counting import Size, account, summary, table
from tlpipe.strategies.plan import L2SP, Phase, Plan

COUNTS = {"stem": Size(1_000), "top": Size(8_000), "head": Size(1_000)}
PLAN = Plan(
    strategy="all_layers",
    start="head",
    groups=("stem", "top"),
    phases=(
        Phase(name="top 1", epochs=1, rates={"stem": None, "top": 5e-4, "head": 1e-3}),
        Phase(name="all", epochs=10, rates={"stem": 1 / 30_000, "top": 5e-4, "head": 1e-3}),
    ),
)


def text(plan: Plan, width: int = 120, title: str | None = None) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(render(account(plan, COUNTS, 0.02), title))
    return console.file.getvalue()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("value", "shown"),
    [(1e-4, "1e-4"), (1 / 30_000, "3.33e-5"), (0.025, "2.5e-2"), (1.0, "1e0"), (10.0, "1e1"), (None, "frozen")],
)
def test_rates_are_short(value: float | None, shown: str):
    assert rate(value) == shown


def test_the_summary_counts_what_trains_in_the_largest_phase():
    facts = summary(PLAN, COUNTS)
    assert facts == {
        "strategy": "all_layers",
        "start": "head",
        "features": "last",
        "phases": 2,
        "epochs": 11,
        "parameters": 10_000,
        "trainable": 10_000,
        "ratio": 1.0,
        "rho": pytest.approx(1 / 30),
        "samples": None,
        "parameters_per_sample": None,
        "overfitting_risk": None,
    }


def test_a_plan_without_phases_trained_the_head_in_the_head_stage():
    plan = Plan(strategy="head_only", start="head", groups=("stem", "top"), phases=())
    assert summary(plan, COUNTS)["trainable"] == 1_000
    said = "1,000 of 10,000 parameters train (10.00%), in the head stage alone"
    assert line(summary(plan, COUNTS)) == said
    shown = text(plan, title="frozen").splitlines()
    assert shown[0] == f"frozen: {said}"
    rows = [line.split() for line in shown]
    assert ["stem", "1,000", "frozen", "0", "none"] in rows
    assert ["head", "1,000", "no", "rate", "1,000", "none"] in rows
    assert ["trainable", "10,000", "1,000", "1,000"] in rows
    assert ["ratio", "10.00%"] in rows
    assert "until it has converged" in " ".join(notes(account(plan, COUNTS, 0.02)))


def test_the_table_has_a_row_a_group_and_a_column_a_phase():
    rows = [line.split() for line in text(PLAN).splitlines()]
    assert ["stem", "1,000", "frozen", "3.33e-5", "1,000", "0.02"] in rows
    assert ["top", "8,000", "5e-4", "5e-4", "8,000", "0.02"] in rows
    assert ["head", "1,000", "1e-3", "1e-3", "1,000", "0.02"] in rows
    assert ["trainable", "10,000", "9,000", "10,000", "10,000"] in rows
    assert ["ratio", "90.00%", "100.00%"] in rows


def test_a_group_that_never_trains_has_no_weight_decay():
    first = PLAN.model_copy(update={"phases": PLAN.phases[:1]})
    rows = [line.split() for line in text(first).splitlines()]
    assert ["stem", "1,000", "frozen", "0", "none"] in rows


def test_what_trained_before_and_is_frozen_in_the_end_has_its_decay():
    phases = (PLAN.phases[1], *[PLAN.phases[0]] * 6)
    rows = [line.split() for line in text(PLAN.model_copy(update={"phases": phases})).splitlines()]
    assert [row[-1] for row in rows if row and row[0] == "stem"] == ["0.02", "0.02"]


def test_many_phases_do_not_make_the_table_wider():
    phases = tuple(PLAN.phases[1].model_copy(update={"name": f"step {i}"}) for i in range(20))
    shown = text(PLAN.model_copy(update={"phases": phases}), width=100)
    assert all(f"step {i}" in shown for i in range(20))
    assert shown.count("stem") == 4


def test_below_the_table_stand_the_ratio_of_rates_the_decay_and_the_risk():
    plan = PLAN.model_copy(update={"wise_ft": True, "soup": 3})
    shown = " ".join(notes(account(plan, COUNTS, 0.02, 50)))
    for part in (
        "last phase: 0.0333",
        "weight decay 0.02",
        "200 trainable parameters a training sample (50)",
        "high risk",
    ):
        assert part in shown
    assert "greedy soup of the last 3 epochs, then interpolation" in shown
    assert "not known" in " ".join(notes(account(PLAN, COUNTS, 0.02)))


def test_with_l2_sp_there_is_no_weight_decay():
    plan = PLAN.model_copy(update={"l2_sp": L2SP(alpha=0.1, beta=0.01)})
    assert any("alpha 0.1, beta 0.01" in each for each in notes(account(plan, COUNTS, 0.02, 50)))
    assert {row["weight_decay"] for row in table(plan, COUNTS, 0.02)} == {None, 0.0}


def test_partly_adapted_groups_say_how_much_of_them_trains():
    phase = Phase(name="norms", epochs=1, rates=dict.fromkeys(("stem", "top", "head"), 1e-3), adapt="norms")
    plan = PLAN.model_copy(update={"phases": (phase,)})
    sizes = {"stem": Size(1_000, norms=20), "top": Size(8_000, norms=40), "head": Size(1_000)}
    console = Console(file=io.StringIO(), width=120)
    console.print(render(account(plan, sizes, 0.0)))
    assert "1e-3 (40 norms)" in console.file.getvalue()  # type: ignore[attr-defined]
    assert summary(plan, sizes)["trainable"] == 1_060
