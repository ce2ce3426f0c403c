"""Metrics against scikit-learn and numbers worked out by hand; intervals against what they promise."""

import numpy as np
import pytest
from sklearn import metrics as sk

from tlpipe.metrics import METRICS, bootstrap, measure, paired_difference, reliability


def sample(size: int = 200, classes: int = 4, seed: int = 0, skill: float = 0.4):
    generator = np.random.default_rng(seed)
    labels = generator.integers(classes, size=size)
    probabilities = generator.dirichlet(np.ones(classes), size)
    probabilities[np.arange(size), labels] += skill * generator.random(size)
    return labels, probabilities / probabilities.sum(1, keepdims=True)


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_values_are_those_of_scikit_learn(classes: int):
    labels, probabilities = sample(classes=classes)
    predicted = probabilities.argmax(1)
    scores = probabilities[:, 1] if classes == 2 else probabilities
    expected = {
        "accuracy": sk.accuracy_score(labels, predicted),
        "balanced_accuracy": sk.balanced_accuracy_score(labels, predicted),
        "macro_f1": sk.f1_score(labels, predicted, average="macro"),
        "log_loss": sk.log_loss(labels, probabilities),
        "auroc": sk.roc_auc_score(labels, scores, multi_class="ovr", average="macro"),
    }
    values = measure(labels, probabilities)
    assert {name: values[name] for name in expected} == pytest.approx(expected, abs=1e-12)


def test_tied_scores_count_half_in_auroc():
    labels, probabilities = sample(size=500, classes=3)
    coarse = np.round(probabilities * 4) + 1
    coarse /= coarse.sum(1, keepdims=True)
    expected = sk.roc_auc_score(labels, coarse, multi_class="ovr", average="macro")
    assert METRICS["auroc"](labels, coarse) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("name", METRICS)
def test_counts_mean_repeated_samples(name: str):
    labels, probabilities = sample(size=60, classes=3, seed=3)
    drawn = np.random.default_rng(1).integers(60, size=(4, 60))
    counts = np.stack([np.bincount(row, minlength=60) for row in drawn], axis=1).astype(float)
    repeated = [METRICS[name](labels[row], probabilities[row]) for row in drawn]
    assert METRICS[name].over(labels, probabilities, counts) == pytest.approx(repeated, abs=1e-12)


def test_ece_by_hand():
    # 30 samples, 2 a bin: confidences 0.51, 0.52, … 0.80; only the upper half of the bins is right
    confidence = 0.51 + 0.01 * np.arange(30)
    labels = (np.arange(30) < 15).astype(int)
    probabilities = np.stack([confidence, 1 - confidence], axis=1)
    right = labels == 0
    gaps = [abs(right[i : i + 2].mean() - confidence[i : i + 2].mean()) for i in range(0, 30, 2)]
    assert METRICS["ece"](labels, probabilities) == pytest.approx(np.mean(gaps), abs=1e-12)
    bins = reliability(labels, probabilities)
    assert [b.count for b in bins] == [2] * 15
    assert (bins[0].confidence, bins[0].accuracy, bins[14].accuracy) == (pytest.approx(0.515), 0.0, 1.0)


def test_ece_does_not_depend_on_the_order_of_tied_samples():
    labels = np.array([0, 1] * 20)
    probabilities = np.full((40, 2), [0.7, 0.3])
    order = np.random.default_rng(0).permutation(40)
    assert METRICS["ece"](labels, probabilities) == METRICS["ece"](labels[order], probabilities[order])


def test_brier_by_hand():
    assert METRICS["brier"](np.array([0, 2]), np.array([[1, 0, 0], [0.5, 0.5, 0.0]])) == pytest.approx((0 + 1.5) / 2)


def test_auroc_is_absent_when_a_class_is():
    labels, probabilities = sample(classes=3)
    probabilities = np.hstack([probabilities, np.zeros((len(labels), 1))])
    assert "auroc" not in measure(labels, probabilities)
    assert "auroc" not in bootstrap(labels, probabilities, 50)
    assert "accuracy" in measure(labels, probabilities)


def test_resamples_that_lack_a_class_are_left_out():
    labels, probabilities = np.array([0] * 20 + [1]), sample(size=21, classes=2)[1]
    with np.errstate(all="raise"):
        intervals = bootstrap(labels, probabilities, 300)
    assert all(np.isfinite(interval).all() for interval in intervals.values())
    assert 0 <= intervals["auroc"].low <= intervals["auroc"].high <= 1


def test_one_sample_is_enough():
    values = measure(np.array([1]), np.array([[0.2, 0.8]]))
    assert (values["accuracy"], values["macro_f1"], values["ece"]) == (1.0, 1.0, pytest.approx(0.2))


def test_intervals_hold_their_value_and_are_reproducible():
    labels, probabilities = sample(size=400)
    intervals = bootstrap(labels, probabilities, 500, seed=7)
    assert all(interval.low <= interval.value <= interval.high for interval in intervals.values())
    assert intervals == bootstrap(labels, probabilities, 500, seed=7)
    assert intervals != bootstrap(labels, probabilities, 500, seed=8)


def test_accuracy_interval_covers_the_truth_about_95_times_in_100():
    generator = np.random.default_rng(0)
    covered = 0
    for trial in range(200):
        right = generator.random(200) < 0.8
        probabilities = np.where(right[:, None], [0.9, 0.1], [0.1, 0.9])
        interval = bootstrap(np.zeros(200, int), probabilities, 200, seed=trial)["accuracy"]
        covered += interval.low <= 0.8 <= interval.high
    assert 180 <= covered <= 199


def test_interval_width_is_the_binomial_one():
    labels = np.zeros(1000, int)
    probabilities = np.where(np.arange(1000)[:, None] < 800, [0.9, 0.1], [0.1, 0.9])
    interval = bootstrap(labels, probabilities, 2000)["accuracy"]
    assert interval.high - interval.low == pytest.approx(2 * 1.96 * np.sqrt(0.8 * 0.2 / 1000), rel=0.1)


def test_pairing_separates_what_single_intervals_cannot():
    labels, second = sample(size=500, skill=1.0)
    first = second.copy()
    wrong = np.flatnonzero(second.argmax(1) != labels)[:12]
    first[wrong] = np.eye(4)[labels[wrong]]
    better, worse = bootstrap(labels, first)["accuracy"], bootstrap(labels, second)["accuracy"]
    assert better.low < worse.high
    difference = paired_difference("accuracy", labels, first, second)
    assert difference.value == pytest.approx(12 / 500)
    assert 0 < difference.low < difference.value < difference.high


def test_equal_predictions_are_too_close_to_call():
    labels, probabilities = sample()
    assert paired_difference("log_loss", labels, probabilities, probabilities) == (0, 0, 0)


def test_nothing_can_be_told_where_the_metric_never_applies():
    labels, probabilities = np.arange(30), np.eye(30) * 0.5 + 0.5 / 30
    difference = paired_difference("auroc", labels, probabilities, probabilities, resamples=20)
    assert (difference.low, difference.high) == (-np.inf, np.inf)


@pytest.mark.parametrize(
    ("labels", "probabilities", "message"),
    [
        ([0, 2], [[0.5, 0.5], [0.5, 0.5]], "one column"),
        ([0], [[0.5, 0.5], [0.5, 0.5]], "need labels"),
        ([], np.empty((0, 2)), "need labels"),
        ([0], [[np.nan, 0.5]], "finite"),
    ],
)
def test_bad_input_is_refused(labels: list, probabilities: list, message: str):
    with pytest.raises(ValueError, match=message):
        measure(np.array(labels), np.array(probabilities))
