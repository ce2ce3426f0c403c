"""Long texts in parts that a network can take; the one place that says what a stride is."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tlpipe.config import ConfigError


def windows(length: int, size: int, stride: int) -> list[tuple[int, int]]:
    """Half-open ranges [start, end) of at most `size` tokens that together cover all `length` tokens, in order.

    `stride` is what consecutive windows share, in tokens: the next one starts `size - stride` after the last one did.
    (Hugging Face's tokenizers use the word so; the `doc_stride` of BERT's SQuAD script is the step, `size - stride`.)
    The last window is moved back to be full as well, so it shares `stride` tokens or more with the one before; only a
    text shorter than `size` has a shorter window, its only one. A text without tokens has one empty window, so that
    every text has a row.

    Raises:
        ConfigError: `size` is not positive, or `stride` is not in 0..`size - 1`: windows would not move on.
    """
    if size < 1 or not 0 <= stride < size:
        raise ConfigError(
            f"windows of {size} tokens cannot share {stride}: what they share (the stride) is from 0 to one less "
            "than their size; give a smaller stride or a greater max_length"
        )
    last = max(length - size, 0)
    starts = [*range(0, last, size - stride), last]
    return [(start, min(start + size, length)) for start in starts]


def deciding(length: int, ranges: Sequence[tuple[int, int]]) -> NDArray[np.int64]:
    """Which of `windows` decides each of `length` tokens, (length,): where the nearer end is farthest away.

    The first of equally good ones. Source: BERT's SQuAD script, which calls it the maximum context.
    """
    context = np.full((len(ranges), length), -1, np.int64)
    for row, (start, end) in zip(context, ranges, strict=True):
        inside = np.arange(end - start)
        row[start:end] = np.minimum(inside, inside[::-1])
    return np.asarray(context.argmax(axis=0), np.int64)
