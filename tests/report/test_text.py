"""Numbers as people read them."""

import pytest

from tlpipe.evaluate.judged import lower_title
from tlpipe.metrics import METRICS
from tlpipe.report import text


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.42, "0.4 s"), (41.6, "42 s"), (185, "3 min 05 s"), (7800, "2 h 10 min"), (3599.6, "1 h 00 min")],
)
def test_durations(seconds: float, shown: str):
    assert text.duration(seconds) == shown


@pytest.mark.parametrize(
    ("number", "metric", "shown"),
    [(0.97321, "accuracy", "97.3 %"), (0.0312, "ece", "3.1 %"), (0.1234, "log_loss", "0.123"), (None, "auroc", "n/a")],
)
def test_values(number: float | None, metric: str, shown: str):
    assert text.value(number, metric) == shown


def test_intervals_name_their_unit_once():
    assert text.interval({"value": 0.9, "low": 0.881, "high": 0.92}, "accuracy") == "88.1 to 92.0 %"
    assert text.interval(None, "accuracy") == ""


def test_an_interval_has_as_many_digits_as_tell_its_bounds_apart():
    assert text.interval({"value": 1.0, "low": 0.99963, "high": 1.0}, "accuracy") == "99.963 to 100.000 %"
    assert text.interval({"value": 0.1, "low": 0.10001, "high": 0.10004}, "log_loss") == "0.100010 to 0.100040"
    assert text.interval({"value": 0.0, "low": 0.0, "high": 0.0}, "log_loss") == "0.000 to 0.000"


def test_differences_are_signed_and_leave_out_what_is_unknown():
    entry = {"value": 0.012, "low": -0.003, "high": 0.021}
    assert text.difference(entry, "accuracy") == "+1.2 points (-0.3 to +2.1)"
    assert text.difference({**entry, "low": None, "high": None}, "log_loss") == "+0.012"


@pytest.mark.parametrize(("number", "shown"), [(None, "frozen"), (3e-4, "3e-4"), (0.00025, "2.5e-4"), (1.0, "1e0")])
def test_rates(number: float | None, shown: str):
    assert text.rate(number) == shown


@pytest.mark.parametrize(("number", "shown"), [(330, "330"), (19_902, "19.9 k"), (2_796_202, "2.8 M")])
def test_compact(number: int, shown: str):
    assert text.compact(number) == shown


def test_every_metric_has_a_name_that_fits_a_sentence():
    assert [lower_title(name) for name in METRICS] == [
        "accuracy", "balanced accuracy", "macro F1", "log loss", "Brier score", "calibration error (ECE)", "AUROC"
    ]  # fmt: skip


def test_listing():
    assert [text.listing(words) for words in (["a"], ["a", "b"], ["a", "b", "c"])] == ["a", "a and b", "a, b and c"]


def test_sizes():
    assert (text.size(11_200_000), text.size(2_300)) == ("11.2 MB", "2.3 kB")
