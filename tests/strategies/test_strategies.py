"""Plans against numbers worked out by hand."""

import pytest

from tlpipe.config import ConfigError, members, parse
from tlpipe.strategies import AnyStrategy
from tlpipe.strategies.base import layerwise
from tlpipe.strategies.plan import HEAD, L2SP, Plan, assign
from tlpipe.strategies.scale import Scale

GROUPS = ("stem", "block1", "block2", "block3")


def strategy(**values: object) -> object:
    return parse(values, AnyStrategy, "finetune.it")


def test_layerwise_rates_of_the_seed_article() -> None:
    # lr_base 0.001, gamma 0.1, four layers: the head is the fourth
    rates = layerwise(("layer1", "layer2", "layer3"), 0.001, 0.1)
    assert list(rates.values()) == pytest.approx([0.000001, 0.00001, 0.0001, 0.001])
    assert list(rates) == ["layer1", "layer2", "layer3", HEAD]


def test_head_only_has_no_phase() -> None:
    plan = strategy(kind="head_only").plan(GROUPS)
    assert (plan.start, plan.phases, plan.ever_trained) == ("head", (), ())


def test_top_layers_unfreezes_one_group_a_phase() -> None:
    plan = strategy(kind="top_layers", layers=2, lr=0.01, gamma=0.5, stage_epochs=3, epochs=7).plan(GROUPS)
    assert [phase.name for phase in plan.phases] == ["top 1", "top 2"]
    assert [phase.epochs for phase in plan.phases] == [3, 7]
    assert plan.phases[0].rates == {"stem": None, "block1": None, "block2": None, "block3": 0.005, HEAD: 0.01}
    assert plan.phases[1].rates == {"stem": None, "block1": None, "block2": 0.0025, "block3": 0.005, HEAD: 0.01}
    assert plan.phases[1].frozen == ("stem", "block1")
    assert plan.ever_trained == ("block2", "block3", HEAD)


def test_all_layers_in_stages_ends_with_everything() -> None:
    plan = strategy(kind="all_layers", lr=0.01, gamma=0.5, stages=2, stage_epochs=1, epochs=2).plan(GROUPS)
    assert [phase.name for phase in plan.phases] == ["top 2", "all"]
    assert plan.phases[-1].frozen == ()
    assert plan.phases[-1].rates["stem"] == pytest.approx(0.01 * 0.5**4)


def test_rho_is_the_ratio_of_the_lowest_group_to_the_head() -> None:
    plan = strategy(kind="all_layers", lr=0.01, rho=0.1, stages=1, epochs=2).plan(GROUPS)
    rates = plan.phases[0].rates
    assert rates["stem"] / rates[HEAD] == pytest.approx(0.1)
    assert rates["block1"] / rates["stem"] == pytest.approx(0.1 ** (-1 / 4))


def phases(**rates: float | None) -> object:
    return strategy(kind="phases", start="head", phases=[{"name": "only", "epochs": 1, "rates": rates}])


def test_explicit_phases_resolve_their_patterns() -> None:
    plan = phases(**{"head": 0.1, "block[23]": 0.01, "*": None}).plan(GROUPS)
    assert plan.phases[0].rates == {"stem": None, "block1": None, "block2": 0.01, "block3": 0.01, HEAD: 0.1}


def test_explicit_phases_that_train_nothing_are_refused() -> None:
    with pytest.raises(ConfigError, match="freezes every layer group"):
        phases(**{"*": None}).plan(GROUPS)


def test_scratch_starts_from_random_weights_at_one_rate() -> None:
    plan = strategy(kind="scratch", lr=0.002, epochs=9).plan(GROUPS)
    assert plan.start == "random"
    assert set(plan.phases[0].rates.values()) == {0.002}


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"kind": "top_layers", "layers": 5, "lr": 0.1, "gamma": 1.0, "stage_epochs": 1, "epochs": 1}, "has 4"),
        ({"kind": "all_layers", "stages": 9, "lr": 0.1, "gamma": 1.0, "stage_epochs": 1, "epochs": 1}, "at most 4"),
    ],
)
def test_more_groups_than_there_are_is_refused(values: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        strategy(**values).plan(GROUPS)


def test_not_both_of_gamma_and_rho() -> None:
    with pytest.raises(ConfigError, match="one of gamma and rho at most"):
        strategy(kind="all_layers", lr=0.1, stages=1, epochs=1, gamma=0.5, rho=0.5)


@pytest.mark.parametrize(
    ("kind", "needed"),
    [
        ("top_layers", {"layers": 2}), ("all_layers", {}), ("all_depth_tuning", {}), ("first_block", {}),
        ("norm_only", {}), ("lora", {}), ("scratch", {}),
    ],
)  # fmt: skip
def test_what_has_a_rule_may_be_left_out(kind: str, needed: dict[str, int]) -> None:
    rule = {"lr": "auto", "epochs": "auto"}
    rule |= {"top_layers": {"gamma": "auto"}, "all_layers": {"rho": "auto"}, "all_depth_tuning": {"rho": "auto"}}.get(
        kind, {}
    )
    for samples in (40, 4000):
        scale = Scale(samples=samples)
        assert strategy(kind=kind, **needed).plan(GROUPS, scale) == strategy(kind=kind, **needed, **rule).plan(
            GROUPS, scale
        )


def test_stages_before_the_last_are_as_long_as_the_rule_says() -> None:
    scale = Scale(samples=200, batch_size=16)
    phases = strategy(kind="all_layers", stages=2).plan(GROUPS, scale).phases
    assert [phase.epochs for phase in phases] == [scale.stage_epochs(), scale.epochs()]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"kind": "top_layers", "layers": 1, "gamma": 1.0, "stage_epochs": 2}, "has no effect"),
        ({"kind": "all_layers", "stages": 1, "gamma": 1.0, "stage_epochs": 2}, "has no effect"),
    ],
)
def test_stage_epochs_without_stages_are_refused(values: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        strategy(**values, lr=0.1, epochs=1)


EXAMPLES = {
    "head_only": {},
    "top_layers": {"layers": 3, "lr": 0.1, "gamma": 0.5, "stage_epochs": 1, "epochs": 1},
    "all_layers": {"lr": 0.1, "gamma": 0.5, "stages": 3, "stage_epochs": 1, "epochs": 1},
    "all_depth_head": {},
    "all_depth_tuning": {"lr": 0.1, "rho": 0.5, "epochs": 1},
    "first_block": {"lr": 0.1, "epochs": 1},
    "norm_only": {"lr": 0.1, "epochs": 1},
    "lora": {"lr": 0.1, "epochs": 1, "rank": 2},
    "scratch": {"lr": 0.1, "epochs": 1},
    "phases": {"start": "head", "phases": [{"name": "top", "epochs": 1, "rates": {"block3": 0.1, "*": None}}]},
}


SETTLED = [member for member in members(AnyStrategy) if member.settled and member.network]


def test_what_waits_for_advice_says_so_instead_of_planning() -> None:
    waiting = {member for member in members(AnyStrategy) if not member.settled}
    assert [member.__name__ for member in waiting] == ["Advised"]
    with pytest.raises(ConfigError, match="the advise stage chooses"):
        strategy(kind="auto", race=True).plan(GROUPS)


def test_what_has_no_network_plans_no_phase_and_no_group() -> None:
    plan = strategy(kind="tfidf").plan(GROUPS)
    assert (plan.start, plan.groups, plan.phases) == ("texts", (), ())
    assert [member.__name__ for member in members(AnyStrategy) if not member.network] == ["TfIdf"]


@pytest.mark.parametrize("member", SETTLED, ids=lambda member: member.__name__)
def test_contract_every_group_in_every_phase_once_and_something_trains(member: type) -> None:
    kind = member.model_fields["kind"].annotation.__args__[0]
    plan = strategy(kind=kind, **EXAMPLES[kind]).plan(GROUPS)
    for phase in plan.phases:
        assert tuple(phase.rates) == (*GROUPS, HEAD)
        assert phase.trainable
        assert set(phase.trainable) | set(phase.frozen) == {*GROUPS, HEAD}
    assert plan.groups == GROUPS


def test_assign_first_match_wins_and_none_freezes() -> None:
    assert assign(GROUPS, [("block3", 0.1), ("block*", 0.01), ("*", None)]) == {
        "stem": None, "block1": 0.01, "block2": 0.01, "block3": 0.1,
    }  # fmt: skip


def test_assign_refuses_a_pattern_without_a_layer_and_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"'blok1' matches no layer group.*did you mean 'block1'"):
        assign(GROUPS, [("blok1", 0.1), ("*", None)])


def test_assign_refuses_a_group_that_no_row_covers() -> None:
    with pytest.raises(ConfigError, match="'stem' is covered by no row"):
        assign(GROUPS, [("block*", 0.1)])


FINE_TUNING = sorted(EXAMPLES.keys() - {"head_only", "all_depth_head", "scratch"})


@pytest.mark.parametrize("kind", FINE_TUNING)
def test_every_fine_tuning_can_stay_close_to_its_start_and_end_in_a_mixture(kind: str) -> None:
    penalty = {"alpha": 0.1, "beta": 0.01}
    plan = strategy(kind=kind, **EXAMPLES[kind], l2_sp=penalty, wise_ft=True, soup=3).plan(GROUPS)
    assert (plan.l2_sp, plan.wise_ft, plan.soup) == (L2SP(**penalty), True, 3)
    assert plan.start == "head"


@pytest.mark.parametrize("kind", sorted(EXAMPLES.keys() - {"head_only", "all_depth_head", "phases"}))
def test_what_is_auto_follows_from_the_number_of_samples(kind: str) -> None:
    values = {**EXAMPLES[kind], "lr": "auto", "epochs": "auto"}
    few, many = (strategy(kind=kind, **values).plan(GROUPS, Scale(samples=n)) for n in (100, 10_000))
    assert few.phases[-1].epochs > many.phases[-1].epochs
    assert few.phases[-1].rates[HEAD] <= many.phases[-1].rates[HEAD]
    assert strategy(kind=kind, **values).plan(GROUPS) == strategy(kind=kind, **values).plan(GROUPS, Scale(samples=1000))


def test_first_block_tunes_the_lowest_group_or_the_one_that_is_named() -> None:
    lowest = strategy(kind="first_block", lr=0.1, factor=0.5, epochs=1).plan(GROUPS)
    assert lowest.phases[0].rates == {"stem": 0.05, "block1": None, "block2": None, "block3": None, HEAD: 0.1}
    named = strategy(kind="first_block", group="block2", lr=0.1, epochs=1).plan(GROUPS)
    assert named.phases[0].trainable == ("block2", HEAD)
    assert (lowest.untouched, named.untouched) == (0, 2)
    with pytest.raises(ConfigError, match="did you mean 'block1'"):
        strategy(kind="first_block", group="blok1", lr=0.1, epochs=1).plan(GROUPS)


def test_norms_and_adapters_are_said_a_phase_and_the_head_always_trains_whole() -> None:
    for kind, adapt in (("norm_only", "norms"), ("lora", "lora")):
        phase = strategy(kind=kind, lr=0.1, rho=0.1, epochs=1).plan(GROUPS).phases[0]
        assert [phase.adapt_of(group) for group in phase.rates] == [adapt] * 4 + ["all"]
        assert phase.ratio == pytest.approx(0.1)


@pytest.mark.parametrize(("option", "value"), [("wise_ft", True), ("l2_sp", {"alpha": 0.1, "beta": 0.0})])
def test_random_weights_are_nothing_to_stay_close_to(option: str, value: object) -> None:
    rows = [{"name": "only", "epochs": 1, "rates": {"*": 0.1}}]
    with pytest.raises(ConfigError, match="start: random"):
        strategy(kind="phases", start="random", phases=rows, **{option: value})


def test_adapters_need_a_plan_of_one_phase_that_says_their_rank() -> None:
    plan = strategy(kind="lora", lr=0.1, epochs=1).plan(GROUPS)
    for change in ({"lora": None}, {"phases": plan.phases * 2}):
        with pytest.raises(ValueError, match="exactly one phase"):
            Plan.model_validate({**dict(plan), **change})
