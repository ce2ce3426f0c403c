"""Near duplicates: re-encoded, slightly resized, brighter or darker copies, found without comparing all pairs.

A thumbnail says little about identity where all images of a set look alike (chest X-rays, digits), so thumbnails are
whitened first: what most images share counts little, what is particular to one counts much. Whitened thumbnails of
different images are nearly uncorrelated, those of copies stay near 1 (Kessy, Lewin & Strimmer 2018 on whitening).
Candidates come from random hyperplane hashes in bands (Charikar 2002) and are verified by their correlation.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image

EDGE = 16
"""Thumbnails are EDGE x EDGE grey pixels."""
NOISE = 0.25
"""Deviation that a copy's contrast-normalised thumbnail may have in any direction; damps the whitening."""
PRIOR = 100
"""Images of pure noise that the whitening is told of besides, so that it also holds for a handful of images."""
SMALL = 32
"""Pixels; below this side, images hold too little detail and need more likeness."""
BANDS, BITS = 40, 16
"""At a correlation of 0.92 a pair shares at least one band of bits with probability 0.99."""
WINDOW = 50
"""Images that share a band are compared with so many followers at most: chains link the rest."""
FITTED = 5_000
"""Images, evenly spread, that the whitening is estimated on."""

Pairs = tuple[NDArray[np.int64], NDArray[np.float32]]


def thumbnail(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """RGB (H, W, 3) -> grey (EDGE * EDGE,) uint8, averaged over areas."""
    grey = Image.fromarray(image).convert("L")
    resample = Image.Resampling.BOX if min(grey.size) >= EDGE else Image.Resampling.BILINEAR
    return np.asarray(grey.resize((EDGE, EDGE), resample)).reshape(-1)


def near_pairs(thumbnails: NDArray[np.uint8], sides: NDArray[np.int64], threshold: float) -> Pairs:
    """((P, 2) indices i < j, sorted; (P,) correlations) of the images that are copies of one another.

    Args:
        thumbnails: (N, EDGE * EDGE), as `thumbnail` makes them; images without contrast are like none.
        sides: (N,) shorter side of the raw images, pixels.
        threshold: Correlation from which a pair counts; nearer to 1 for images smaller than SMALL.
    """
    whitened = _whiten(thumbnails)
    needed = np.where(sides < SMALL, 1 - (1 - threshold) / 4, threshold)
    found: dict[tuple[int, int], float] = {}
    for pairs in _candidates(whitened):
        likeness = np.einsum("ij,ij->i", whitened[pairs[:, 0]], whitened[pairs[:, 1]])
        good = likeness >= needed[pairs].max(axis=1)
        for (first, second), value in zip(pairs[good].tolist(), likeness[good].tolist(), strict=True):
            found[min(first, second), max(first, second)] = value
    ordered = sorted(found)
    return np.array(ordered, np.int64).reshape(-1, 2), np.array([found[pair] for pair in ordered], np.float32)


def _whiten(thumbnails: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(N, D) rows of length 1, or of zeros for images without contrast."""
    rows = thumbnails.astype(np.float32)
    rows -= rows.mean(axis=1, keepdims=True)
    contrast = rows.std(axis=1, keepdims=True)
    rows /= np.maximum(contrast, 1)
    sample = rows[:: max(1, len(rows) // FITTED)].astype(np.float64)
    mean = sample.sum(axis=0) / (len(sample) + PRIOR)
    scatter = (sample - mean).T @ (sample - mean) + PRIOR * np.eye(rows.shape[1])
    values, vectors = np.linalg.eigh(scatter / (len(sample) + PRIOR))
    transform = vectors / np.sqrt(np.maximum(values, 0) + NOISE**2)
    rows = (rows - mean.astype(np.float32)) @ transform.astype(np.float32)
    rows[contrast[:, 0] < 1] = 0
    unit: NDArray[np.float32] = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-6)
    return unit


def _candidates(rows: NDArray[np.float32]) -> Iterator[NDArray[np.int64]]:
    """(P, 2) indices of rows that share a band of bits, band by band."""
    generator = np.random.default_rng(0)
    weights = 1 << np.arange(BITS, dtype=np.int64)
    usable = np.flatnonzero(rows.any(axis=1))
    for _ in range(BANDS):
        planes = generator.standard_normal((rows.shape[1], BITS), dtype=np.float32)
        keys = ((rows @ planes > 0) @ weights)[usable]
        order = np.argsort(keys, kind="stable")
        yield from _neighbours(keys[order], usable[order])


def _neighbours(keys: NDArray[np.int64], rows: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    for step in range(1, min(WINDOW, len(keys) - 1) + 1):
        same = np.flatnonzero(keys[step:] == keys[:-step])
        if not len(same):
            return
        yield np.stack([rows[same], rows[same + step]], axis=1)
