"""From evidence to a ranking: scores by hand, costs by hand, ties, and what is recommended."""

import json
import math
from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.advise.conftest import GROUPS, measured
from tests.train.conftest import make_training
from tlpipe.advise.advice import INDIFFERENT, advise, family
from tlpipe.advise.cost import Clock, views_of
from tlpipe.advise.evidence import Evidence
from tlpipe.advise.experience import Experience, error_of, load_experience, predict, terms
from tlpipe.advise.region import REGIONS, region
from tlpipe.strategies.all_depth_tuning import AllDepthTuning
from tlpipe.strategies.base import Strategy
from tlpipe.strategies.explicit import Explicit
from tlpipe.strategies.head_only import HeadOnly
from tlpipe.strategies.scratch import Scratch
from tlpipe.strategies.unfreeze import AllLayers, TopLayers
from tlpipe.tasks.token_classification.advice import SCORE as ENTITY_F1

CLOCK = Clock(0.01, {0: 0.0, 1: 0.2, 2: 0.5, 3: 1.0})
STRATEGIES: dict[str, Strategy] = {
    "head": HeadOnly(kind="head_only"),
    "top": TopLayers(kind="top_layers", layers=1, lr=1e-3, gamma=0.5, epochs=20),
    "all": AllLayers(kind="all_layers", lr=1e-3, gamma=0.5, stages=1, epochs=20),
    "scratch": Scratch(kind="scratch", lr=1e-3, epochs=40),
}
Make = Callable[..., Evidence]


def ranked(evidence: Evidence, experience: Experience, strategies: dict[str, Strategy] = STRATEGIES):
    return advise(strategies, GROUPS, evidence, experience, CLOCK, views=4)


def test_costs_are_the_arithmetic_of_the_docs() -> None:
    plans = {name: strategy.plan(GROUPS) for name, strategy in STRATEGIES.items()}
    assert CLOCK.seconds(plans["head"], 100, 4) == 0
    assert CLOCK.seconds(plans["all"], 100, 4) == pytest.approx(0.01 * 100 * 3 * 20)
    # half of the network is frozen: four views of it, three passes an epoch of the other half
    assert CLOCK.seconds(plans["top"], 100, 4) == pytest.approx(0.01 * 100 * (4 * 0.5 + 20 * 3 * 0.5))
    assert CLOCK.seconds(plans["top"], 100, 0) == pytest.approx(0.01 * 100 * 20 * (0.5 + 3 * 0.5))
    assert len(CLOCK.passes(plans["scratch"], 4)) == 40


def test_views_follow_the_recipe() -> None:
    training = make_training()
    assert views_of(training) == training.cache.views
    still = training.augment.model_copy(
        update={"flip": False, "zoom": (1, 1), "rotate": 0, "shift": 0, "brightness": 0}
    )
    cache = training.cache.model_copy(update={"views": 5})
    assert views_of(training.model_copy(update={"augment": still, "cache": cache})) == 1


def test_a_prediction_by_hand(make_evidence: Make, experience: Experience) -> None:
    evidence = make_evidence(last=0.7, every=0.8, random=0.4)
    error, random = (200 * 0.2 + 1) / 202, (200 * 0.6 + 1) / 202
    assert error_of(evidence.all_depths) == pytest.approx(error)
    ratio = math.exp(-0.7 - math.log((error + 0.01) / (random + 0.01)))
    found = predict(experience.rules["all_layers"], evidence)
    assert found.accuracy == pytest.approx(1 - ((error + 0.01) * ratio - 0.01))
    assert found.spread == pytest.approx((1 - found.accuracy + 0.01) * 0.1)
    assert found.sigma > found.spread
    assert terms(evidence)[0] == 1
    assert predict(experience.rules["all_layers"], evidence, borrowed=True).spread == pytest.approx(1.5 * found.spread)


def test_fine_tuning_is_recommended_where_pretrained_features_are_no_better(
    make_evidence: Make, experience: Experience
) -> None:
    far, near = make_evidence(random=0.68), make_evidence(random=0.1)
    assert ranked(far, experience).recommended.name == "all"
    assert ranked(near, experience).recommended.name in ("head", "top")


def test_of_equals_the_cheapest_is_recommended(make_evidence: Make, experience: Experience) -> None:
    advice = ranked(make_evidence(random=0.1), experience)
    scores = {option.name: option.predicted.accuracy for option in advice.options}
    assert abs(scores["head"] - scores["top"]) < INDIFFERENT
    assert advice.recommended.name == "head"


@pytest.mark.parametrize(("wise_ft", "expected"), [(True, "both"), (False, "head")])
def test_a_head_gives_way_to_the_training_that_may_end_as_it(
    make_evidence: Make, experience: Experience, wise_ft: bool, expected: str
) -> None:
    both = AllDepthTuning(kind="all_depth_tuning", lr=1e-3, rho=0.1, epochs=6, wise_ft=wise_ft)
    advice = ranked(make_evidence(random=0.1), experience, {**STRATEGIES, "both": both})
    assert advice.recommended.name == expected
    (row,) = (each for each in advice.summary()["ranking"] if each["strategy"] == "both")
    assert ("goes back to it" in " ".join(row["reasons"])) == wise_ft


def test_ties_are_between_families(make_evidence: Make, experience: Experience) -> None:
    twins = {**STRATEGIES, "top2": STRATEGIES["top"], "head2": STRATEGIES["head"]}
    tied = ranked(make_evidence(random=0.1), experience, twins).tied
    assert len(tied) == len({option.family for option in tied}) == 2
    assert ranked(make_evidence(last=0.95, every=0.4, random=0.1), experience).tied == ()


def test_the_summary_is_what_the_issue_asks_for(make_evidence: Make, experience: Experience) -> None:
    found = json.loads(json.dumps(ranked(make_evidence(), experience).summary()))
    assert {"score", "recommended", "ranking", "tie", "evidence", "region", "experience"} == set(found)
    keys = {"strategy", "kind", "predicted", "sigma", "measured", "cost_seconds", "reasons"}
    scores = [row["predicted"] for row in found["ranking"]]
    assert scores == sorted(scores, reverse=True)
    for row in found["ranking"]:
        assert set(row) == keys
        assert row["measured"] == (row["kind"] == "head_only")
        assert 2 <= len(row["reasons"]) <= 3


def test_a_kind_that_was_never_measured_borrows_and_says_so(make_evidence: Make, experience: Experience) -> None:
    rows = [{"name": "a", "epochs": 3, "rates": {"top": 1e-3, "head": 1e-3, "*": None}}]
    own = Explicit.model_validate_json(json.dumps({"kind": "phases", "start": "head", "phases": rows}))
    advice = ranked(make_evidence(), experience, {"mine": own, "top": STRATEGIES["top"]})
    mine = next(option for option in advice.options if option.name == "mine")
    assert (mine.family, mine.borrowed) == ("partial", True)
    assert "never measured" in " ".join(advice.summary()["ranking"][advice.options.index(mine)]["reasons"])


def test_families() -> None:
    found = {name: family(strategy.plan(GROUPS)) for name, strategy in STRATEGIES.items()}
    assert found == {"head": "frozen", "top": "partial", "all": "full", "scratch": "scratch"}


def test_the_four_regions(make_evidence: Make) -> None:
    found = {
        region(make_evidence(last=0.8, every=0.8, random=random, samples=samples)).name
        for random in (0.1, 0.75)
        for samples in (50, 5000)
    }
    assert found == {each.name for each in REGIONS.values()}


def test_the_shipped_rules_come_from_the_fitting_half_alone() -> None:
    from benchmarks.advisor.targets import TARGETS

    shipped = load_experience()
    assert set(shipped.targets) <= {target.name for target in TARGETS if target.fitted}
    assert {"head_only", "all_depth_head", "top_layers", "all_layers", "scratch"} <= set(shipped.rules)
    assert all(rule.cells > 0 and rule.sigma > 0 for rule in shipped.rules.values())


def test_for_another_score_rules_are_in_relation_to_the_measured_head(make_evidence: Make) -> None:
    rules, whole = load_experience(), make_evidence(last=0.4, every=0.5, random=0.2)
    words = replace(whole, score=ENTITY_F1)
    found = {option.name: option.predicted for option in ranked(words, rules).options}
    usual = {option.name: option.predicted for option in ranked(whole, rules).options}
    assert found["head"].accuracy == pytest.approx(1 - error_of(words.last))
    expected = (1 - usual["all"].accuracy + 0.01) / (1 - usual["head"].accuracy + 0.01)
    errors = [error_of(each) + 0.01 for each in (words.best, words.last)]
    relation = (1 - found["all"].accuracy + 0.01) / errors[0]
    assert relation == pytest.approx(expected * errors[1] / errors[0])
    assert found["all"].spread / (1.01 - found["all"].accuracy) == pytest.approx(
        2 * usual["all"].spread / (1.01 - usual["all"].accuracy)
    )


def test_a_head_that_finds_nothing_is_not_recommended_for_being_cheap(
    make_evidence: Make, experience: Experience
) -> None:
    nothing = replace(make_evidence(last=0.0, every=0.0, random=0.0), score=ENTITY_F1)
    two = {name: STRATEGIES[name] for name in ("head", "top")}
    assert ranked(nothing, experience, two).recommended.name == "top"
    tied = [option.name for option in ranked(nothing, load_experience()).tied]
    assert tied, "fine-tunings are too close to call"
    assert "head" not in tied
    little = replace(nothing, all_depths=measured(0.05), depths={"top": measured(0.05)}, random=measured(0.05))
    assert ranked(little, experience, two).recommended.name == "head"


@pytest.mark.parametrize(("parameters", "word"), [(200, "low"), (10_000, "moderate"), (400_000, "high")])
def test_the_risk_of_overfitting_has_the_plan_s_words(
    make_evidence: Make, experience: Experience, parameters: int, word: str
) -> None:
    advice = ranked(replace(make_evidence(), parameters=parameters), experience)
    found = next(option for option in advice.options if option.name == "all")
    assert f"{parameters / 200:,.0f} parameters a sample, a {word} risk" in " ".join(advice.reasons(found))
    part = next(option for option in advice.options if option.name == "top")
    assert "risk" not in " ".join(advice.reasons(part)), "how much of it trains is not known here"
