from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tlpipe.config import ConfigError
from tlpipe.preprocess.windows import windows

SIZES = st.integers(1, 60).flatmap(lambda size: st.tuples(st.just(size), st.integers(0, size - 1)))


@given(st.integers(0, 500), SIZES)
def test_windows_cover_every_token_in_order(length: int, sizes: tuple[int, int]) -> None:
    found = windows(length, *sizes)
    assert {token for start, end in found for token in range(start, end)} == set(range(length))
    assert found == sorted(set(found)), "each is once there, from left to right"
    assert found[0][0] == 0
    assert found[-1][1] == length


@given(st.integers(0, 500), SIZES)
def test_windows_are_full_where_the_text_is_long_enough(length: int, sizes: tuple[int, int]) -> None:
    assert {end - start for start, end in windows(length, *sizes)} == {min(length, sizes[0])}


@given(st.integers(0, 500), SIZES)
def test_neighbours_share_the_stride_and_the_last_pair_at_least_that(length: int, sizes: tuple[int, int]) -> None:
    shared = [before[1] - after[0] for before, after in pairwise(windows(length, *sizes))]
    assert all(tokens == sizes[1] for tokens in shared[:-1])
    assert all(tokens >= sizes[1] for tokens in shared[-1:])


@given(st.integers(0, 500), SIZES)
def test_no_window_is_spare(length: int, sizes: tuple[int, int]) -> None:
    size, stride = sizes
    needed = 1 if length <= size else 1 + -(-(length - size) // (size - stride))
    assert len(windows(length, size, stride)) == needed


@pytest.mark.parametrize(
    ("length", "size", "stride", "expected"),
    [
        (0, 4, 1, [(0, 0)]),
        (4, 4, 1, [(0, 4)]),
        (7, 4, 1, [(0, 4), (3, 7)]),
        (8, 4, 1, [(0, 4), (3, 7), (4, 8)]),
        (3, 1, 0, [(0, 1), (1, 2), (2, 3)]),
    ],
)
def test_examples(length: int, size: int, stride: int, expected: list[tuple[int, int]]) -> None:
    assert windows(length, size, stride) == expected


@pytest.mark.parametrize(("size", "stride"), [(4, 4), (4, 5), (4, -1), (0, 0)])
def test_windows_that_would_not_move_on_are_refused(size: int, stride: int) -> None:
    with pytest.raises(ConfigError, match=f"windows of {size} tokens cannot share {stride}"):
        windows(10, size, stride)
