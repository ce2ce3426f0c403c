"""Intervals against what they promise: over samples, of one training or of the mean over several."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binom

from tlpipe.evaluate.judged import difference
from tlpipe.evaluate.judged import intervals as measured
from tlpipe.evaluate.predictions import Predictions
from tlpipe.intervals import mid_p, of_share


def said(labels: NDArray[np.int64], probabilities: NDArray[np.float64]) -> Predictions:
    size, classes = probabilities.shape
    names, ids = tuple(map(str, range(classes))), tuple(map(str, range(size)))
    return Predictions(names, np.arange(size), ids, ("test",) * size, labels, probabilities)


def sample(size: int = 200, classes: int = 4, seed: int = 0, skill: float = 0.4, again: int = 0) -> Predictions:
    """Made-up predictions; `again` draws other ones of the same samples."""
    labels = np.random.default_rng(seed).integers(classes, size=size)
    generator = np.random.default_rng([seed, again])
    probabilities = generator.dirichlet(np.ones(classes), size)
    probabilities[np.arange(size), labels] += skill * generator.random(size)
    return said(labels, probabilities / probabilities.sum(1, keepdims=True))


@pytest.mark.parametrize("right", [0, 3, 17, 20])
def test_of_one_training_accuracy_is_the_mid_p_interval_of_a_proportion(right: int):
    probabilities = np.where(np.arange(20)[:, None] < right, [0.9, 0.1], [0.1, 0.9])
    found = measured([said(np.zeros(20, int), probabilities)], 100, 0)["accuracy"]
    assert found.value == right / 20
    for bound, tail in ((found.low, binom.sf), (found.high, lambda hits, *of: binom.cdf(hits - 1, *of))):
        if bound not in (0, 1):
            assert tail(right, 20, bound) + binom.pmf(right, 20, bound) / 2 == pytest.approx(0.025, abs=1e-9)
    assert (found.low == 0, found.high == 1) == (right == 0, right == 20)


@pytest.mark.parametrize("name", ["accuracy", "balanced_accuracy", "macro_f1", "auroc"])
def test_no_interval_of_a_share_has_a_width_of_zero_when_all_are_right(name: str):
    labels = np.arange(40) % 4
    several = [said(labels, np.eye(4)[labels] * 0.9 + 0.025)] * 2
    for trainings in (several[:1], several):
        found = measured(trainings, 400, 0)[name]
        assert (found.value, found.high) == (1, 1)
        assert 0.6 < found.low < 0.95
    assert difference(several[:1], several[:1], name, 400, 0).low < 0


def test_a_rare_class_widens_the_interval_of_balanced_accuracy():
    rare, even = (np.arange(40) < count for count in (3, 20))
    low = [measured([said(each.astype(int), np.eye(2)[each.astype(int)])], 1000, 0) for each in (rare, even)]
    assert low[0]["balanced_accuracy"].low < low[1]["balanced_accuracy"].low - 0.1
    assert low[0]["accuracy"].low == low[1]["accuracy"].low


@pytest.mark.parametrize(("correlation", "share"), [(0.1, 0.8), (0.3, 0.8), (0.3, 0.9)])
def test_patients_with_many_images_each_are_resampled_whole(correlation: float, share: float):
    """20 patients with 15 images each; without the groups 300 images are covered in 60 to 80 %."""
    generator, certain = np.random.default_rng(0), (1 - correlation) / correlation
    names, covered, blind = tuple(str(image // 15) for image in range(300)), 0, 0
    for trial in range(120):
        chances = generator.beta(share * certain, (1 - share) * certain, 20).repeat(15)
        probabilities = np.where((generator.random(300) < chances)[:, None], [0.9, 0.1], [0.1, 0.9])
        one = said(np.zeros(300, int), probabilities)
        grouped, reached = replace(one, groups=names), float((one.predicted == one.labels).mean())
        found = of_share(reached, grouped.draw(("accuracy",), 200, trial)["accuracy"], grouped.design)
        low, high = mid_p(reached, 300)
        covered, blind = covered + (found.low <= share <= found.high), blind + (low <= share <= high)
    assert covered >= 107
    assert blind <= 102


def test_differences_resample_groups_whole_too():
    first, second = (sample(again=at) for at in (1, 2))
    right = np.arange(200) % 4 < 2 + (np.arange(200) >= 100)
    first, second = (said(first.labels, np.eye(4)[(first.labels + wrong) % 4]) for wrong in (~right, right))
    names = tuple(str(index // 100) for index in range(200))
    alone, grouped = (
        difference([replace(first, groups=each)], [replace(second, groups=each)], "accuracy", 400, 0)
        for each in ((), names)
    )
    assert alone.value == grouped.value
    assert grouped.high - grouped.low > 3 * (alone.high - alone.low)


def test_of_several_trainings_it_is_that_of_each_samples_mean_score():
    trainings = [sample(again=at) for at in (1, 2, 3)]
    right = np.mean([each.predicted == each.labels for each in trainings], axis=0)
    found = measured(trainings, 100, 3)["accuracy"]
    expected = mid_p(right.mean(), right.mean() * (1 - right.mean()) / right.var() * 200)
    assert found == pytest.approx((right.mean(), *expected), abs=0.002)
    drawn = np.mean([each.draw(("accuracy",), 4000, 3)["accuracy"] for each in trainings], axis=0)
    assert found == pytest.approx(of_share(right.mean(), drawn, trainings[0].design), abs=0.004)


def test_the_same_training_several_times_is_no_more_than_once():
    once, twice = (measured([sample()] * times, 100, 0)["accuracy"] for times in (1, 2))
    assert once == pytest.approx(twice)


def test_other_metrics_are_taken_of_each_training_and_then_averaged():
    trainings = [sample(again=at) for at in (1, 2, 3)]
    value = np.mean([each.measure()["macro_f1"] for each in trainings])
    assert measured(trainings, 300, 3)["macro_f1"].value == pytest.approx(value)
    mixed = said(trainings[0].labels, np.mean([each.probabilities for each in trainings], axis=0))
    assert mixed.measure()["macro_f1"] > value + 0.05, "an ensemble is something else"


def test_the_means_decide_and_not_the_first_trainings():
    good, bad, fair = sample(skill=3.0), sample(skill=0.0, again=1), sample(skill=1.0, again=2)
    assert difference([good], [fair], "accuracy", 200, 0).low > 0
    assert difference([good, bad, bad], [fair] * 3, "accuracy", 200, 0).high < 0


def test_more_trainings_average_their_own_luck_away():
    trainings = [sample(size=1000, skill=0.6, again=at) for at in range(8)]
    one, many = (measured(some, 200, 0)["accuracy"] for some in (trainings[:1], trainings))
    assert many.high - many.low < 0.6 * (one.high - one.low)


def test_resamples_that_lack_a_class_are_left_out():
    judged = said(np.array([0] * 20 + [1]), sample(size=21, classes=2).probabilities)
    with np.errstate(all="raise"):
        intervals = measured([judged], 300, 0)
    assert all(np.isfinite(interval).all() for interval in intervals.values())
    assert 0 <= intervals["auroc"].low <= intervals["auroc"].high <= 1


def test_intervals_hold_their_value_and_are_reproducible():
    judged = sample(size=400)
    intervals = measured([judged], 500, seed=7)
    assert all(interval.low <= interval.value <= interval.high for interval in intervals.values())
    assert intervals == measured([judged], 500, seed=7)
    assert intervals != measured([judged], 500, seed=8)


@pytest.mark.parametrize("size", [20, 50, 200])
def test_the_interval_of_a_proportion_covers_it_in_92_to_100_of_100_draws_and_in_95_on_average(size: int):
    bounds = np.array([mid_p(hits / size, size) for hits in range(size + 1)])
    shares = np.linspace(0.5, 0.99, 50)
    inside = (bounds[:, :1] <= shares) & (shares <= bounds[:, 1:])
    covered = (binom.pmf(np.arange(size + 1)[:, None], size, shares) * inside).sum(0)
    assert covered.min() > 0.92
    assert covered.mean() == pytest.approx(0.955, abs=0.01)


def test_interval_width_is_the_binomial_one():
    probabilities = np.where(np.arange(1000)[:, None] < 800, [0.9, 0.1], [0.1, 0.9])
    interval = measured([said(np.zeros(1000, int), probabilities)], 2000, 0)["accuracy"]
    assert interval.high - interval.low == pytest.approx(2 * 1.96 * np.sqrt(0.8 * 0.2 / 1000), rel=0.1)


def test_pairing_separates_what_single_intervals_cannot():
    second = sample(size=500, skill=1.0)
    wrong = np.flatnonzero(second.predicted != second.labels)[:12]
    corrected = second.probabilities.copy()
    corrected[wrong] = np.eye(4)[second.labels[wrong]]
    first = said(second.labels, corrected)
    better, worse = (measured([each], 1000, 0)["accuracy"] for each in (first, second))
    assert better.low < worse.high
    found = difference([first], [second], "accuracy", 1000, 0)
    assert found.value == pytest.approx(12 / 500)
    assert 0 < found.low < found.value < found.high


def test_equal_predictions_are_too_close_to_call():
    assert difference([sample()], [sample()], "log_loss", 1000, 0) == (0, 0, 0)


def test_nothing_can_be_told_where_the_metric_never_applies():
    judged = said(np.arange(30), np.eye(30) * 0.5 + 0.5 / 30)
    found = difference([judged], [judged], "auroc", 20, 0)
    assert (found.low, found.high) == (-np.inf, np.inf)
