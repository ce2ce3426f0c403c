"""Intervals of sums draw whole samples, and agree with those of means where there is nothing but means."""

import numpy as np
import pytest

from tlpipe import metrics
from tlpipe.intervals import Design, Floats, clusters, of_share
from tlpipe.sums import SumMetric, draw_sums, measure_sums, ratio

SHARE = {"share": SumMetric("Share", True, lambda sums: ratio(sums[0], sums[1]))}

ADDED = np.array([[0.0, 1.0]]), np.array([[1.0, 1.0]])


def design(samples: Floats) -> Design:
    return Design(clusters([""] * len(samples)), np.ones(1))


def test_intervals_are_those_of_the_plain_bootstrap_where_a_sample_counts_one() -> None:
    generator = np.random.default_rng(0)
    labels, probabilities = np.zeros(80, int), generator.dirichlet((1, 1), 80)
    right = (probabilities.argmax(1) == labels).astype(float)
    columns = np.stack([right, np.ones(80)], axis=1)
    expected = metrics.draw(["accuracy"], labels, probabilities, design(labels), 500, 3)["accuracy"]
    assert draw_sums(columns, SHARE, ADDED, design(columns), 500, 3)["share"] == pytest.approx(expected)


def test_samples_are_drawn_whole_so_that_what_hangs_together_widens_the_interval() -> None:
    right = np.repeat(np.arange(40) % 2, 10).astype(float)
    words = np.stack([right, np.ones(400)], axis=1)
    sentences = words.reshape(40, 10, 2).sum(axis=1)
    wide, narrow = (draw_sums(each, SHARE, ADDED, design(each), 1000, 0)["share"] for each in (sentences, words))
    assert measure_sums(sentences, SHARE) == measure_sums(words, SHARE) == {"share": 0.5}
    assert wide.std() > 2 * narrow.std()


def test_resamples_are_the_same_for_equal_seeds_so_that_differences_are_paired() -> None:
    generator = np.random.default_rng(1)
    first = np.stack([generator.integers(0, 2, 50), np.ones(50)], axis=1).astype(float)
    better = first.copy()
    better[:, 0] = 1
    one, other = (draw_sums(each, SHARE, ADDED, design(each), 200, 0)["share"] for each in (better, first))
    assert (one - other).mean() == pytest.approx(1 - first[:, 0].mean(), abs=0.02)
    assert (one - other).min() > 0


def test_what_does_not_apply_is_left_out() -> None:
    never = {"never": SumMetric("Never", True, lambda sums: np.full(sums.shape[1], np.nan))}
    assert measure_sums(np.ones((3, 2)), never) == {}
    each = design(np.ones((3, 2)))
    assert of_share(0.0, draw_sums(np.ones((3, 2)), never, ADDED, each, 100, 0)["never"], each) is None
    assert ratio(np.array([1.0, 0.0]), np.array([2.0, 0.0])).tolist() == [0.5, 0.0]
