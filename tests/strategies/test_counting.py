"""Worked examples, and what a plan costs in parameters."""

import pytest

from tlpipe.strategies.counting import Size, account, by_phase, most_trained, risk, summary, table, totals
from tlpipe.strategies.plan import HEAD, L2SP, Phase, Plan
from tlpipe.strategies.unfreeze import TopLayers

LAYERS = ("layer1", "layer2", "layer3", "layer4")
SIZES = {**dict.fromkeys(LAYERS, Size(512 * 512 + 512)), HEAD: Size(512 * 128 + 128 + 128 * 2 + 2)}
"""The article's network: a backbone of four 512 x 512 layers and a head 512 -> 128 -> 2."""


def top(layers: int) -> Plan:
    stages = {"stage_epochs": 1} if layers > 1 else {}
    return TopLayers(kind="top_layers", layers=layers, lr=1e-3, gamma=0.1, epochs=1, **stages).plan(LAYERS)


def test_the_article_s_parameters_of_backbone_and_head() -> None:
    assert sum(SIZES[layer].total for layer in LAYERS) == 1_050_624
    assert SIZES[HEAD].total == 65_922
    head_only = Plan(strategy="head_only", start="head", groups=LAYERS, phases=())
    assert summary(head_only, SIZES)["ratio"] == pytest.approx(0.06, abs=0.001)


def test_the_article_s_last_two_layers_unfrozen() -> None:
    facts = summary(top(2), SIZES)
    assert facts["trainable"] == 591_234
    assert facts["parameters"] == 1_116_546
    # the article's "about 56 %" is of the backbone; what is printed is the share of all parameters
    assert facts["ratio"] == pytest.approx(0.53, abs=0.001)
    assert pytest.approx(0.56, abs=0.005) == 591_234 / 1_050_624


def test_the_article_s_layer_wise_rates() -> None:
    rows = [row for row in table(top(3), SIZES, 0.01) if row["phase"] == "top 3"]
    rates = {row["group"]: row["learning_rate"] for row in rows}
    assert rates[HEAD] == 0.001
    assert [rates[layer] for layer in LAYERS[:0:-1]] == pytest.approx([0.0001, 0.00001, 0.000001])
    assert rates["layer1"] is None


def test_table_has_a_row_a_phase_and_group() -> None:
    rows = table(top(2), SIZES, 0.02)
    assert len(rows) == 10
    assert rows[3] == {
        "phase": "top 1", "epochs": 1, "group": "layer4", "parameters": 262_656, "trainable": True,
        "trained_parameters": 262_656, "adapt": "all", "learning_rate": 0.0001, "weight_decay": 0.02,
    }  # fmt: skip
    assert rows[0]["learning_rate"] is rows[0]["weight_decay"] is rows[0]["adapt"] is None


def test_totals_have_a_row_a_phase() -> None:
    first, second = totals(top(2), SIZES)
    assert (first["phase"], first["trainable"], second["trainable"]) == ("top 1", 328_578, 591_234)
    assert second["ratio"] == pytest.approx(0.53, abs=0.001)
    assert (first["rho"], second["rho"]) == (pytest.approx(0.1), pytest.approx(0.01))


def test_a_head_alone_has_its_row_and_its_totals() -> None:
    plan = Plan(strategy="head_only", start="head", groups=LAYERS, phases=())
    *below, head = table(plan, SIZES, 0.02)
    assert head == {
        "phase": "converged head", "epochs": 0, "group": HEAD, "parameters": 65_922, "trainable": True,
        "trained_parameters": 65_922, "adapt": "all", "learning_rate": None, "weight_decay": None,
    }  # fmt: skip
    assert [(row["group"], row["trainable"], row["trained_parameters"]) for row in below] == [
        (layer, False, 0) for layer in LAYERS
    ]
    assert totals(plan, SIZES) == [
        {"phase": "converged head", "epochs": 0, "trainable": 65_922, "ratio": 65_922 / 1_116_546, "rho": None}
    ]


def test_phases_of_one_name_stay_apart_and_a_group_counts_where_most_of_it_trains() -> None:
    staged = top(2)
    plan = staged.model_copy(update={"phases": (*staged.phases, staged.phases[0])})
    phases = by_phase(table(plan, SIZES, 0.02))
    assert [rows[0]["phase"] for rows in phases] == ["top 1", "top 2", "top 1"]
    assert {len(rows) for rows in phases} == {5}
    assert most_trained(phases) == [0, 0, 262_656, 262_656, 65_922]


def test_the_account_is_the_summary_the_totals_the_rows_and_what_else_is_asked_for() -> None:
    plan = top(2).model_copy(update={"l2_sp": L2SP(alpha=0.1, beta=0.01), "soup": 3})
    found = account(plan, SIZES, 0.02, 1000)
    assert found == {
        **summary(plan, SIZES, 1000), "l2_sp": {"alpha": 0.1, "beta": 0.01}, "wise_ft": False, "soup": 3,
        "totals": totals(plan, SIZES), "rows": table(plan, SIZES, 0.02),
    }  # fmt: skip
    assert account(top(2), SIZES, 0.02)["l2_sp"] is None


def test_parameters_a_sample_have_a_word() -> None:
    facts = summary(top(2), SIZES, samples=1000)
    assert facts["parameters_per_sample"] == pytest.approx(591.234)
    assert facts["overfitting_risk"] == "high"
    assert [risk(each) for each in (0.5, 50, 5000, 50_000)] == ["low", "moderate", "high", "very high"]


@pytest.mark.parametrize(("adapt", "trained"), [("all", 120), ("norms", 24), ("lora", 44)])
def test_a_partly_adapted_group_counts_what_moves(adapt: str, trained: int) -> None:
    sizes = {"only": Size(100, norms=4, adapters=24), HEAD: Size(20)}
    phase = Phase(name="x", epochs=1, rates={"only": 0.1, HEAD: 0.1}, adapt=adapt)  # type: ignore[arg-type]
    plan = Plan.model_construct(strategy="x", start="head", groups=("only",), phases=(phase,))
    assert summary(plan, sizes)["trainable"] == trained
