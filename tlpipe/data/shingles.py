"""Near duplicates among texts: the share of character 5-grams that two texts have in common (Jaccard similarity).

Candidates come from MinHash signatures in bands (Broder 1997; Leskovec, Rajaraman & Ullman, ch. 3) and are verified
exactly: a pair with a similarity of 0.8 shares a band with a probability above 0.999, one of 0.7 with 0.98.
"""

import hashlib
import re
import unicodedata
from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

LENGTH = 5
"""Characters of a shingle."""
BANDS, ROWS = 16, 4
WINDOW = 50
"""Texts that share a band are compared with so many followers at most: chains link the rest."""
Shingles = NDArray[np.uint64]


def folded(text: Sequence[str]) -> str:
    """What two texts are compared by: letters and digits in lower case, one space between words."""
    joined = "\x1f".join(unicodedata.normalize("NFKC", part).casefold() for part in text)
    return " ".join(re.findall(r"\w+|\x1f", joined))


def content_hash(text: Sequence[str]) -> bytes:
    """Equal for texts that differ in nothing but Unicode form and white space."""
    parts = [" ".join(unicodedata.normalize("NFC", part).split()) for part in text]
    return hashlib.sha256("\x1f".join(parts).encode()).digest()


def shingles(text: Sequence[str]) -> Shingles:
    """Sorted 64-bit hashes of the different shingles of a text; short texts are one shingle."""
    plain = folded(text)
    points = np.frombuffer(plain.encode("utf-32-le"), np.uint32).astype(np.uint64)
    if len(points) <= LENGTH:
        points = np.pad(points, (0, LENGTH + 1 - len(points)))
    windows = np.lib.stride_tricks.sliding_window_view(points, LENGTH)
    powers = np.array([0x9E3779B97F4A7C15 ** (n + 1) % 2**64 for n in range(LENGTH)], np.uint64)
    return np.unique(_mixed((windows * powers).sum(axis=1, dtype=np.uint64)))


def near_texts(texts: Mapping[int, Shingles], threshold: float) -> dict[tuple[int, int], float]:
    """{(i, j): similarity}, i < j, of the texts with at least the similarity `threshold`."""
    order = sorted(texts)
    if len(order) < 2:
        return {}
    signatures = np.stack([_signature(texts[index]) for index in order]).reshape(len(order), BANDS, ROWS)
    found: dict[tuple[int, int], float] = {}
    for band in range(BANDS):
        buckets: dict[bytes, list[int]] = defaultdict(list)
        for index, row in zip(order, signatures[:, band], strict=True):
            buckets[row.tobytes()].append(index)
        for bucket in buckets.values():
            for at, first in enumerate(bucket):
                for second in bucket[at + 1 : at + 1 + WINDOW]:
                    if (first, second) not in found:
                        found[first, second] = similarity(texts[first], texts[second])
    return {pair: found[pair] for pair in sorted(found) if found[pair] >= threshold}


def similarity(first: Shingles, second: Shingles) -> float:
    """Shared shingles over all of both."""
    both = len(np.intersect1d(first, second, assume_unique=True))
    return both / (len(first) + len(second) - both)


def _signature(text: Shingles) -> NDArray[np.uint64]:
    seeds = _mixed(np.arange(1, BANDS * ROWS + 1, dtype=np.uint64))
    lowest: Shingles = _mixed(text[:, None] ^ seeds).min(axis=0)
    return lowest


def _mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of splitmix64: each bit depends on all."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: NDArray[np.uint64] = values ^ (values >> np.uint64(31))
    return mixed
