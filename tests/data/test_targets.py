"""Marks: rows with a label, or tokens with one, found by row, by batch and by place."""

import numpy as np
import pytest

from tlpipe.data.targets import IGNORED, RowLabels, Targets, TokenLabels

ROWS = RowLabels(np.array([3, 1, 2, 0]))
TOKENS = TokenLabels(np.array([-100, 4, -100, -100, -100, 5, 6, 7, -100]), np.array([0, 3, 4, 9, 9]), most=5)
EACH = pytest.mark.parametrize("targets", [ROWS, TOKENS], ids=["rows", "tokens"])


def test_a_batch_of_tokens_is_padded_like_its_rows() -> None:
    assert TOKENS.batch([0, 2]).tolist() == [[-100, 4, -100, -100, -100], [-100, 5, 6, 7, -100]]
    assert TOKENS.batch([0]).tolist() == [[-100, 4, -100, -100]]  # an even length, where that is not above `most`
    assert TOKENS.batch(np.array([1])).tolist() == [[-100, -100]]
    assert ROWS.batch([2, 0]).tolist() == [2, 3]


@EACH
def test_marks_are_counted_and_placed_by_row(targets: Targets) -> None:
    for low in range(5):
        for high in range(low, 5):
            first, last = targets.range(low, high)
            rows = targets.row(low, high)
            assert len(rows) == last - first == targets.count(list(range(low, high)))
            assert (np.diff(rows) >= 0).all()
            batches = [targets.batch([row]) for row in range(low, high)]
            labels = [each for batch in batches for each in batch.ravel().tolist() if each != IGNORED]
            assert targets.marks[first:last].tolist() == labels


def test_rows_that_come_twice_count_twice() -> None:
    assert (ROWS.count([1, 1]), TOKENS.count([2, 2, 1])) == (2, 6)


def test_what_belongs_to_the_marks_is_selected() -> None:
    values = np.arange(2 * 5 * 2).reshape(2, 5, 2)
    assert TOKENS.select([0, 2], values).tolist() == [values[0, 1].tolist(), *values[1, 1:4].tolist()]
    assert ROWS.select([0, 2], values) is values


@EACH
def test_marks_have_places_in_whatever_order_their_rows_come(targets: Targets) -> None:
    rows = [2, 0, 3, 1, 2]
    expected = [place for row in rows for place in range(*targets.range(row, row + 1))]
    assert targets.places(rows).tolist() == expected
    assert targets.places(np.array(rows)).tolist() == expected
