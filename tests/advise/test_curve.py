"""The learning curve: what it measures, how far it looks, and whether its band is honest."""

import numpy as np
import pytest

from tests.advise.conftest import clouds
from tlpipe.advise.curve import AHEAD, anchors, learning_curve
from tlpipe.advise.marks import of_samples
from tlpipe.advise.probe import cross_validate, probe


def test_anchors_are_nested_sizes_up_to_the_whole_training_part() -> None:
    x, y = clouds(200, 4, 2, seed=1)
    sizes, counts = anchors([x], of_samples(y, 4), seed=0)
    assert sizes[-1] == 160
    assert sizes == sorted(sizes)
    assert counts.shape == (len(sizes), 200, 2)
    right = counts[:, :, 0].mean(1)
    assert right[-1] == pytest.approx(cross_validate([x], of_samples(y, 4), seed=0).accuracy, abs=0.03)
    assert right[0] < right[-1]


def test_it_never_looks_further_than_four_times() -> None:
    x, y = clouds(160, 4, 2, seed=1)
    points = learning_curve([x], of_samples(y, 4), seed=0)
    assert [point.samples for point in points if not point.measured] == [320, 640]
    assert max(AHEAD) == 4
    assert all(point.low <= point.accuracy <= point.high for point in points if not point.measured)
    assert points == learning_curve([x], of_samples(y, 4), seed=0)


def test_too_few_anchors_are_not_extrapolated() -> None:
    x, y = clouds(16, 8, 2, seed=1)
    assert all(point.measured for point in learning_curve([x], of_samples(y, 8), seed=0))


def test_the_band_holds_what_more_labels_really_bring() -> None:
    inside, widths = [], []
    new, labels = clouds(4000, 6, 2.2, seed=1000, width=40)
    for seed in range(12):
        x, y = clouds(4 * 150, 6, 2.2, seed=seed, width=40)
        for point in learning_curve([x[:150]], of_samples(y[:150], 6), seed)[-2:]:
            some = slice(0, point.samples)
            truth = (probe([x[some]], y[some], [new], 6).argmax(1) == labels).mean()
            inside.append(point.low <= truth <= point.high)
            widths.append(point.high - point.low)
    assert np.mean(inside) >= 0.75
    assert np.mean(widths) < 0.25
