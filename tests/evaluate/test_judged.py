"""Intervals against what they promise: over samples, of one training or of the mean over several."""

import numpy as np
import pytest
from numpy.typing import NDArray

from tlpipe.evaluate.judged import bootstrap, difference
from tlpipe.evaluate.predictions import Predictions
from tlpipe.metrics import METRICS, resamplings


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


def drawn(judged: Predictions, name: str, resamples: int) -> NDArray[np.float64]:
    counts = np.concatenate(list(resamplings(judged.size, resamples, 3)), axis=1)
    return METRICS[name].over(judged.labels, judged.probabilities, counts)


@pytest.mark.parametrize("name", METRICS)
def test_of_one_training_it_is_the_plain_bootstrap_to_the_last_bit(name: str):
    one, other = sample(), sample(again=1)
    around = bootstrap([one], 300, 3)[name]
    values = METRICS[name](one.labels, one.probabilities), METRICS[name](other.labels, other.probabilities)
    draws = drawn(one, name, 300), drawn(other, name, 300)
    shift = draws[0].mean() - values[0] if name == "ece" else 0.0
    assert around == (values[0], *np.maximum(np.percentile(draws[0], [2.5, 97.5]) - shift, 0))
    found, apart = difference([one], [other], name, 300, 3), draws[0] - draws[1]
    shift = apart.mean() - (values[0] - values[1]) if name == "ece" else 0.0
    assert found == (values[0] - values[1], *(np.percentile(apart, [2.5, 97.5]) - shift))


def test_of_several_it_is_that_of_each_samples_mean_score():
    first, second = ([sample(again=at) for at in ats] for ats in ((1, 2, 3), (4, 5)))
    right = [np.mean([each.predicted == each.labels for each in side], axis=0) for side in (first, second)]
    counts = np.concatenate(list(resamplings(200, 400, 3)), axis=1)
    low, high = np.percentile((right[0] - right[1]) @ counts / 200, [2.5, 97.5])
    found = difference(first, second, "accuracy", 400, 3)
    assert found == pytest.approx((right[0].mean() - right[1].mean(), low, high))
    low, high = np.percentile(right[0] @ counts / 200, [2.5, 97.5])
    assert bootstrap(first, 400, 3)["accuracy"] == pytest.approx((right[0].mean(), low, high))


def test_other_metrics_are_taken_of_each_training_and_then_averaged():
    trainings = [sample(again=at) for at in (1, 2, 3)]
    low, high = np.percentile(np.mean([drawn(each, "macro_f1", 300) for each in trainings], axis=0), [2.5, 97.5])
    value = np.mean([each.measure()["macro_f1"] for each in trainings])
    assert bootstrap(trainings, 300, 3)["macro_f1"] == pytest.approx((value, low, high))
    mixed = said(trainings[0].labels, np.mean([each.probabilities for each in trainings], axis=0))
    assert mixed.measure()["macro_f1"] > value + 0.05, "an ensemble is something else"


def test_the_means_decide_and_not_the_first_trainings():
    good, bad, fair = sample(skill=3.0), sample(skill=0.0, again=1), sample(skill=1.0, again=2)
    assert difference([good], [fair], "accuracy", 200, 0).low > 0
    assert difference([good, bad, bad], [fair] * 3, "accuracy", 200, 0).high < 0


def test_more_trainings_average_their_own_luck_away():
    trainings = [sample(size=1000, skill=0.6, again=at) for at in range(8)]
    one, many = (bootstrap(some, 500, 0)["accuracy"] for some in (trainings[:1], trainings))
    assert many.high - many.low < 0.6 * (one.high - one.low)


def test_resamples_that_lack_a_class_are_left_out():
    judged = said(np.array([0] * 20 + [1]), sample(size=21, classes=2).probabilities)
    with np.errstate(all="raise"):
        intervals = bootstrap([judged], 300, 0)
    assert all(np.isfinite(interval).all() for interval in intervals.values())
    assert 0 <= intervals["auroc"].low <= intervals["auroc"].high <= 1


def test_intervals_hold_their_value_and_are_reproducible():
    judged = sample(size=400)
    intervals = bootstrap([judged], 500, seed=7)
    assert all(interval.low <= interval.value <= interval.high for interval in intervals.values())
    assert intervals == bootstrap([judged], 500, seed=7)
    assert intervals != bootstrap([judged], 500, seed=8)


def test_accuracy_interval_covers_the_truth_about_95_times_in_100():
    generator = np.random.default_rng(0)
    covered = 0
    for trial in range(200):
        right = generator.random(200) < 0.8
        probabilities = np.where(right[:, None], [0.9, 0.1], [0.1, 0.9])
        interval = bootstrap([said(np.zeros(200, int), probabilities)], 200, trial)["accuracy"]
        covered += interval.low <= 0.8 <= interval.high
    assert 180 <= covered <= 199


def test_interval_width_is_the_binomial_one():
    probabilities = np.where(np.arange(1000)[:, None] < 800, [0.9, 0.1], [0.1, 0.9])
    interval = bootstrap([said(np.zeros(1000, int), probabilities)], 2000, 0)["accuracy"]
    assert interval.high - interval.low == pytest.approx(2 * 1.96 * np.sqrt(0.8 * 0.2 / 1000), rel=0.1)


def test_pairing_separates_what_single_intervals_cannot():
    second = sample(size=500, skill=1.0)
    wrong = np.flatnonzero(second.predicted != second.labels)[:12]
    corrected = second.probabilities.copy()
    corrected[wrong] = np.eye(4)[second.labels[wrong]]
    first = said(second.labels, corrected)
    better, worse = (bootstrap([each], 1000, 0)["accuracy"] for each in (first, second))
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
