"""Closed-form probes against scikit-learn and against what leave-one-out and cross-validation promise."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from tests.advise.conftest import clouds
from tlpipe.advise.marks import of_samples
from tlpipe.advise.probe import STRENGTHS, cross_fitted, cross_validate, deal, gain, measured, probe


@pytest.mark.parametrize(("count", "width"), [(40, 8), (20, 60)])
def test_scores_are_ridge_regressions_at_one_of_the_penalties(count: int, width: int) -> None:
    x, y = clouds(count, 3, 2, seed=1, width=width)
    z, _ = clouds(30, 3, 2, seed=2, width=width)
    own = (x - x.mean(0, dtype=float)) / x.std(0, dtype=float) / width**0.5
    other = (z - x.mean(0, dtype=float)) / x.std(0, dtype=float) / width**0.5
    values = np.linalg.svd(own, compute_uv=False) ** 2
    mean = values[values > 1e-10 * values[0]].mean()
    solutions = [
        Ridge(alpha=strength * mean, solver="cholesky").fit(own, np.eye(3)[y]).predict(other) for strength in STRENGTHS
    ]
    found = probe([x], y, [z], 3)
    assert min(np.abs(found - solution).max() for solution in solutions) < 1e-6


def test_the_penalty_is_the_one_with_the_least_leave_one_out_error() -> None:
    x, y = clouds(24, 3, 1, seed=3)
    errors = []
    for strength in STRENGTHS:
        total = 0.0
        own = (x - x.mean(0, dtype=float)) / x.std(0, dtype=float) / 12**0.5
        mean = (np.linalg.svd(own, compute_uv=False) ** 2).mean()
        for left in range(24):
            keep = np.arange(24) != left
            fitted = Ridge(alpha=strength * mean).fit(own[keep], np.eye(3)[y[keep]])
            total += ((fitted.predict(own[[left]]) - np.eye(3)[y[left]]) ** 2).sum()
        errors.append(total)
    best = STRENGTHS[int(np.argmin(errors))]
    expected = Ridge(alpha=best * mean).fit(own, np.eye(3)[y]).predict(own)
    assert np.abs(probe([x], y, [x], 3) - expected).max() < 1e-6


def test_blocks_weigh_the_same_however_wide_they_are() -> None:
    x, y = clouds(60, 3, 2, seed=1)
    wide = np.repeat(x, 7, axis=1)
    assert np.allclose(probe([x], y, [x], 3), probe([wide], y, [wide], 3), atol=1e-8)


def test_cross_validation_cannot_be_better_than_chance_on_random_labels() -> None:
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=(300, 200)).astype(np.float32), generator.integers(0, 2, 300)
    found = cross_validate([x], of_samples(y, 2), seed=0)
    assert abs(found.accuracy - 0.5) < 3 * found.sigma


def test_the_paired_interval_of_a_gain_covers_the_truth_and_is_narrower_than_two_apart() -> None:
    generator, covered, paired, apart = np.random.default_rng(0), [], [], []
    for _ in range(400):
        hard = generator.random(120)
        both = [np.stack([hard < share, np.ones(120)], 1).astype(float) for share in (0.8, 0.6)]
        for each in both:  # each errs for itself on a few more
            each[generator.random(120) < 0.05, 0] = 0
        found = gain(*both)
        covered.append(found.low <= 0.2 * 0.95 <= found.high)
        paired.append(found.high - found.low)
        apart.append(2 * 1.96 * np.hypot(*(measured(each).sigma for each in both)))
    assert 0.93 <= np.mean(covered) <= 0.985
    assert np.mean(paired) < 0.75 * np.mean(apart)


def test_a_probe_is_no_gain_over_itself_and_the_interval_has_a_width() -> None:
    x, y = clouds(60, 3, 2, seed=1)
    own = cross_fitted([x], of_samples(y, 3), seed=0)
    found = gain(own, own)
    assert found.value == 0
    assert -0.1 < found.low < 0 < found.high < 0.1


def test_cross_validation_foretells_the_accuracy_on_new_samples() -> None:
    x, y = clouds(250, 5, 2, seed=1)
    new, labels = clouds(5000, 5, 2, seed=2)
    truth = (probe([x], y, [new], 5).argmax(1) == labels).mean()
    found = cross_validate([x], of_samples(y, 5), seed=0)
    assert abs(found.accuracy - truth) < 3 * found.sigma
    assert found == cross_validate([x], of_samples(y, 5), seed=0)


def test_a_constant_feature_and_a_class_of_one_do_no_harm() -> None:
    x, y = clouds(41, 2, 3, seed=1)
    x[:, 0], y[-1] = 5.0, 2
    assert cross_validate([x], of_samples(y, 3), seed=0).accuracy > 0.8


def test_folds_are_stratified() -> None:
    labels = np.repeat([0, 1, 2], [50, 20, 7])
    fold = deal(labels, seed=3)
    for label, count in ((0, 50), (1, 20), (2, 7)):
        held = np.bincount(fold[labels == label], minlength=5)
        assert held.max() - held.min() <= 1
        assert held.sum() == count


def test_all_right_is_not_certainty() -> None:
    assert measured(np.ones((20, 2))).accuracy == 1
    assert 0.02 < measured(np.ones((20, 2))).sigma < 0.1
