import pytest

from tlpipe.schedule import SCHEDULES, factor


def test_warmup_climbs_and_cosine_falls() -> None:
    values = [factor(step, 10, 4, "cosine") for step in range(10)]
    assert values[:4] == pytest.approx([0.2, 0.4, 0.6, 0.8])
    assert values[4] == 1.0
    assert values[7] == pytest.approx(0.5)
    assert values[4:] == sorted(values[4:], reverse=True)


def test_linear_numbers() -> None:
    assert [factor(step, 4, 0, "linear") for step in range(4)] == [1.0, 0.75, 0.5, 0.25]


def test_constant_stays_after_warmup() -> None:
    assert {factor(step, 20, 5, "constant") for step in range(5, 20)} == {1.0}


@pytest.mark.parametrize("name", sorted(SCHEDULES.keys() - {"rising"}))
def test_every_schedule_starts_at_the_peak(name: str) -> None:
    assert SCHEDULES[name](0.0) == 1.0


def test_the_range_test_climbs_by_equal_factors_to_the_peak() -> None:
    values = [SCHEDULES["rising"](step / 6) for step in range(7)]
    assert values == pytest.approx([1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0])


def test_a_phase_that_is_all_warmup_does_not_divide_by_zero() -> None:
    assert factor(2, 3, 3, "cosine") == pytest.approx(0.75)
