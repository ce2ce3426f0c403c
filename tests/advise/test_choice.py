"""Which backbone: the best within the budget, the fastest of those that are as good, and what is said of it."""

import numpy as np
import pytest

from tlpipe.advise.choice import Cost, Judged, choose, within
from tlpipe.advise.probe import measured
from tlpipe.config import ConfigError

COSTS = {"small": Cost(5.0, 4.0), "middle": Cost(12.0, 14.0), "large": Cost(60.0, 100.0)}


def judged(name: str, right: int, milliseconds: float, of: int = 200) -> Judged:
    won = np.stack([np.arange(of) < right, np.ones(of)], axis=1).astype(float)
    return Judged(name, Cost(milliseconds, 1.0), "last", measured(won), won)


def test_the_best_probe_is_chosen_and_said_to_be_ahead() -> None:
    choice = choose([judged("a", 120, 5), judged("b", 160, 50), judged("c", 140, 10)])
    assert (choice.chosen.name, choice.best.name) == ("b", "b")
    assert [each.name for each in choice.judged] == ["b", "c", "a"]
    assert choice.reason().startswith("b has the best frozen probe, +10.0 points [")
    assert choice.reason().endswith("from c")
    row = choice.summary()[2]
    assert (row["backbone"], row["accuracy"], row["chosen_minus_this"]["value"]) == ("a", 0.6, 0.2)
    assert 0 < row["chosen_minus_this"]["low"] < 0.2


def test_of_equally_good_ones_the_fastest_is_chosen() -> None:
    choice = choose(
        [judged(name, *of, 1000) for name, of in {"slow": (800, 50), "fast": (796, 5), "faster": (794, 4)}.items()]
    )
    assert (choice.chosen.name, choice.best.name) == ("fast", "slow")
    assert "0.4 points behind slow" in choice.reason()
    assert "in 5.0 ms instead of 50.0" in choice.reason()
    assert choose([judged("only", 1, 5)]).reason() == "only is the only one within the budget"


@pytest.mark.parametrize(
    ("milliseconds", "megabytes", "names"),
    [
        (None, None, ["small", "middle", "large"]),
        (20, None, ["small", "middle"]),
        (20, 10, ["small"]),
        (None, 14, ["small", "middle"]),
    ],
)
def test_nothing_over_the_budget_is_taken(
    milliseconds: float | None, megabytes: float | None, names: list[str]
) -> None:
    assert within(COSTS, milliseconds, megabytes) == names


def test_an_impossible_budget_is_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"within 2 ms and 3 MB; the nearest of 3 is small, with 5\.0 ms .* 4\.0 MB"):
        within(COSTS, 2, 3)
