"""Who races, for how long, at what cost, and how much validation counts."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.advise.conftest import GROUPS
from tests.advise.test_advice import CLOCK, STRATEGIES
from tlpipe.advise.advice import Advice, advise
from tlpipe.advise.decision import Decision, typical, weighed
from tlpipe.advise.evidence import Evidence
from tlpipe.advise.experience import Experience
from tlpipe.advise.race import decide, laps
from tlpipe.config import ConfigError
from tlpipe.strategies.all_depth_tuning import AllDepthTuning
from tlpipe.strategies.base import Strategy

VIEWS = 4


@pytest.fixture
def doubtful(experience: Experience) -> Experience:
    """Rules by which everything is too close to call."""
    vague = {kind: rule.model_copy(update={"sigma": 5.0}) for kind, rule in experience.rules.items()}
    return experience.model_copy(update={"rules": vague})


@pytest.fixture
def tied(make_evidence: Callable[..., Evidence], doubtful: Experience) -> Advice:
    """An advice of that kind."""
    return advise(STRATEGIES, GROUPS, make_evidence(), doubtful, CLOCK, VIEWS)


def cost(name: str, epochs: int | None = None) -> float:
    return sum(CLOCK.passes(STRATEGIES[name].plan(GROUPS), VIEWS)[:epochs])


def test_a_race_costs_less_than_1_3_trainings_whoever_wins(tied: Advice) -> None:
    entries = laps(tied, STRATEGIES, GROUPS, CLOCK, VIEWS)
    raced = [name for name, epochs in entries.items() if epochs]
    assert len(raced) >= 2
    dearest = max(cost(name) for name in raced)
    for winner in raced:
        lost = sum(cost(name, entries[name]) for name in raced if name != winner)
        assert cost(winner) + lost < 1.3 * dearest


def test_no_schedule_makes_a_race_dearer_than_1_3_trainings(tied: Advice) -> None:
    generator, races = np.random.default_rng(0), 0
    trained = [option for option in tied.options if option.family != "frozen"]
    for _ in range(300):
        lengths = {name: int(generator.integers(1, 30)) for name in STRATEGIES if name != "head"}
        chosen = {
            name: strategy.model_copy(update={"epochs": lengths[name]}) if name in lengths else strategy
            for name, strategy in STRATEGIES.items()
        }
        order = [trained[index] for index in generator.permutation(len(trained))][: generator.integers(2, 4)]
        entries = laps(replace(tied, tied=tuple(order)), chosen, GROUPS, CLOCK, VIEWS)
        whole = {name: sum(CLOCK.passes(chosen[name].plan(GROUPS), VIEWS)) for name in entries}
        lap = {name: sum(CLOCK.passes(chosen[name].plan(GROUPS), VIEWS)[:count]) for name, count in entries.items()}
        racing = [name for name, count in entries.items() if count]
        assert racing or len(entries) == 1  # what does not race must not be trained beside another
        races += bool(racing)
        for winner in racing:
            lost = sum(lap[name] for name in racing if name != winner)
            assert whole[winner] + lost <= 1.3 * max(whole[name] for name in racing)
    assert 50 < races < 300


@pytest.mark.parametrize(("wise_ft", "rivals"), [(True, {"both", "scratch"}), (False, {"head", "both", "scratch"})])
def test_what_ends_between_two_strategies_needs_no_race_against_them(
    make_evidence: Callable[..., Evidence], doubtful: Experience, wise_ft: bool, rivals: set[str]
) -> None:
    both = AllDepthTuning(kind="all_depth_tuning", lr=1e-3, rho=0.1, epochs=20, wise_ft=wise_ft)
    chosen = {"head": STRATEGIES["head"], "both": both, "scratch": STRATEGIES["scratch"]}
    advice = advise(chosen, GROUPS, make_evidence(), doubtful, CLOCK, VIEWS)
    assert {option.name for option in advice.tied} == set(chosen)
    assert set(laps(advice, chosen, GROUPS, CLOCK, VIEWS)) == rivals


def test_short_schedules_do_not_race(tied: Advice) -> None:
    short: dict[str, Strategy] = {
        name: strategy.model_copy(update={"epochs": 2}) if name != "head" else strategy
        for name, strategy in STRATEGIES.items()
    }
    entries = laps(tied, short, GROUPS, CLOCK, VIEWS)
    assert set(entries.values()) == {0}


def test_a_decision_goes_through_its_file_and_has_no_clock_in_it(tied: Advice, tmp_path: Path) -> None:
    decision = decide(tied, STRATEGIES, GROUPS, CLOCK, VIEWS, race=True)
    decision.write(tmp_path / "deep" / "auto.json")
    assert Decision.read(tmp_path / "deep" / "auto.json") == decision
    assert [each.name for each in decision.contenders] == [option.name for option in tied.tied]
    assert [each.strategy for each in decision.contenders] == [STRATEGIES[option.name] for option in tied.tied]
    slower = type(CLOCK)(100 * CLOCK.forward, CLOCK.shares)
    assert decide(tied, STRATEGIES, GROUPS, slower, VIEWS, race=True) == decision


def test_without_a_race_the_recommended_one_trains(tied: Advice) -> None:
    (only,) = decide(tied, STRATEGIES, GROUPS, CLOCK, VIEWS, race=False).contenders
    assert (only.name, only.epochs) == (tied.recommended.name, 0)


def test_without_advice_it_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="run `dvc repro`"):
        Decision.read(tmp_path / "auto.json")


def test_few_validation_samples_do_not_overrule_and_many_do() -> None:
    few, many = (weighed(0.8, 0.03, 0.7, samples) for samples in (10, 10_000))
    assert 0.78 < few < 0.8
    assert 0.7 < many < 0.703
    assert weighed(0.5, 0.1, 1.0, 20) < 1


def test_one_lucky_epoch_does_not_make_a_training_good() -> None:
    assert typical([0.1, 0.2, 0.9, 0.5, 0.5, 0.5, 0.6]) == pytest.approx((0.5 + 0.5 + 0.5 + 0.6) / 4)
    assert typical([0.7]) == 0.7
