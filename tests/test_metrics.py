"""Metrics against scikit-learn and numbers worked out by hand; intervals against what they promise."""

import numpy as np
import pytest
from sklearn import metrics as sk

from tlpipe.intervals import clusters, of_share
from tlpipe.metrics import METRICS, design, draw, measure, reliability


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


def test_counts_of_resamples_of_unequal_sizes_mean_repeated_samples_too():
    labels, probabilities = sample(size=60, classes=3, seed=3)
    counts = np.random.default_rng(1).integers(0, 4, (60, 5)).astype(float)
    for name in ("ece", "accuracy", "auroc"):
        rows = [np.repeat(np.arange(60), column.astype(int)) for column in counts.T]
        repeated = [METRICS[name](labels[row], probabilities[row]) for row in rows]
        assert METRICS[name].over(labels, probabilities, counts) == pytest.approx(repeated, abs=1e-12)


def test_two_samples_are_added_to_a_share_and_none_to_a_loss():
    labels, probabilities = np.array([0, 0, 0, 1] * 5), np.tile([[0.9, 0.1]], (20, 1))
    each = design(labels, clusters([""] * 20))
    first, second = (draw(["accuracy", "brier"], labels, probabilities, each, 4000, 0, way) for way in (False, True))
    assert first["accuracy"].mean() == pytest.approx(16 / 22, abs=0.01)
    assert first["brier"].mean() == pytest.approx(METRICS["brier"](labels, probabilities), abs=0.01)
    assert (first["brier"] == second["brier"]).all()
    assert 0 < np.corrcoef(first["accuracy"], second["accuracy"])[0, 1] < 0.9


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
    each = design(labels, clusters([""] * len(labels)))
    assert of_share(0.5, draw(["auroc"], labels, probabilities, each, 50, 0)["auroc"], each) is None
    assert "accuracy" in measure(labels, probabilities)


def test_one_sample_is_enough():
    values = measure(np.array([1]), np.array([[0.2, 0.8]]))
    assert (values["accuracy"], values["macro_f1"], values["ece"]) == (1.0, 1.0, pytest.approx(0.2))


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
