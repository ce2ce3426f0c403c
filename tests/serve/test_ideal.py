"""The perfect server that the benchmark's is compared with: by hand, and by the formula for queues."""

import numpy as np
import pytest

from benchmarks.serve.ideal import best_p99, latencies


def test_what_waits_shares_the_next_call():
    arrivals = np.array([0.0, 0.001, 0.002, 0.003, 0.1])
    found = latencies(arrivals, {1: 0.010, 2: 0.016}, 2)
    np.testing.assert_allclose(found, [0.010, 0.025, 0.024, 0.033, 0.010])


def test_sizes_between_those_measured_are_interpolated():
    found = latencies(np.array([0.0, 0.001, 0.001, 0.001]), {1: 0.010, 2: 0.014, 4: 0.024}, 4)
    np.testing.assert_allclose(found, [0.010, 0.028, 0.028, 0.028])


def test_one_a_call_is_the_queue_of_the_textbook():
    """Mean time in an M/D/1 queue: service s (1 + load / (2 (1 - load))), Pollaczek and Khinchin."""
    load, seconds = 0.7, 0.01
    arrivals = np.cumsum(np.random.default_rng(1).exponential(seconds / load, 200_000))
    mean = latencies(arrivals, {1: seconds}, 1).mean()
    assert mean == pytest.approx(seconds * (1 + load / (2 * (1 - load))), rel=0.03)


def test_the_best_limit_is_taken():
    even = {1: 0.01, 2: 0.02, 4: 0.04}  # nothing is gained by sharing: one a call answers soonest
    assert best_p99(even, 70) == pytest.approx(best_p99({1: 0.01}, 70))
    assert best_p99({1: 0.01, 2: 0.01, 4: 0.01}, 150) < 0.03


def test_with_lanes_whoever_comes_takes_the_one_that_is_free_first():
    arrivals = np.array([0.0, 0.001, 0.002, 0.003, 0.1])
    found = latencies(arrivals, {1: 0.010}, 1, lanes=2)
    np.testing.assert_allclose(found, [0.010, 0.010, 0.018, 0.018, 0.010])


def test_two_lanes_are_the_queue_of_the_textbook():
    """Mean time in an M/M/2-like queue with constant service: about half of Erlang's waiting time for M/M/2."""
    load, seconds = 0.7, 0.01
    arrivals = np.cumsum(np.random.default_rng(2).exponential(seconds / (2 * load), 200_000))
    waits = latencies(arrivals, {1: seconds}, 1, lanes=2).mean() - seconds
    erlang = seconds * load**2 / (1 - load**2)
    assert waits == pytest.approx(erlang / 2, rel=0.1)
