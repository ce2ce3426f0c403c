"""TF-IDF with a logistic regression: what texts reach without a network, chosen out of fold, fitted on all labels."""

import hashlib
from collections.abc import Sequence
from itertools import cycle
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlpipe.data.packed import SPLITS, Packed, Split
from tlpipe.data.read_texts import read_texts
from tlpipe.intervals import clusters
from tlpipe.metrics import measure

STRENGTHS = (0.1, 1.0, 10.0, 100.0)
"""Inverse penalties C of the logistic regression; pooled out-of-fold cross-entropy chooses."""
FOLDS = 5
MOST_FOLDED = 2_000
"""Labelled samples above which the validation split, where there is one, is the only fold."""
Rows = NDArray[np.int64]
Floats = NDArray[np.float64]


def tf_idf(packed: Packed) -> dict[Split, Floats]:
    """Words, pairs of words and 2 to 5 characters within words, by TF-IDF, in a logistic regression.

    C is chosen by folds over all labelled samples, and the model of the test split is fitted on all of them; of a
    pair, the two texts are one.

    Returns:
        Probabilities (n, C) by split of `packed.pooled`: out of fold where a fold held them out, and of the test split.
    """
    texts = [" ".join(text) for text in read_texts(packed.folder)]
    labelled, test = np.arange(packed.labelled), packed.rows("test")
    held = held_out(packed)
    pooled = np.concatenate(held)
    parts = [_fitted(texts, packed, np.setdiff1d(labelled, rows), rows, STRENGTHS) for rows in held]
    tried = dict(zip(STRENGTHS, np.concatenate(parts, axis=1), strict=True))
    best = min(STRENGTHS, key=lambda strength: measure(packed.labels[pooled], tried[strength])["log_loss"])
    probabilities = np.zeros((packed.labelled, len(packed.classes)))
    probabilities[pooled] = tried[best]
    found: dict[Split, Floats] = {"test": _fitted(texts, packed, labelled, test, (best,))[0]}
    splits: tuple[Split, ...] = ("validation",) if packed.folds else ("train", "validation")
    for split in splits:
        rows = packed.pooled.rows(split)
        if np.isin(rows, pooled).all() and len(rows):
            found[split] = probabilities[rows]
    return {split: found[split] for split in SPLITS if split in found}


def held_out(packed: Packed) -> list[Rows]:
    """The rows that each fold holds out: those of the packed arrays where they have folds, else drawn here.

    A drawn fold has about as much of each class as the others, keeps groups together, and depends on the ids alone.
    """
    if packed.folds:
        return [np.arange(low, high) for low, high in packed.folds]
    labelled, validation = np.arange(packed.labelled), packed.rows("validation")
    if len(labelled) > MOST_FOLDED and len(validation):
        return [validation]
    units: dict[int, list[int]] = {}
    for row, unit in zip(labelled, clusters([packed.groups[row] for row in labelled]), strict=True):
        units.setdefault(int(unit), []).append(int(row))
    ordered = sorted(units.values(), key=lambda rows: (packed.labels[rows[0]], _rank(packed.ids[rows[0]])))
    parts: list[list[int]] = [[] for _ in range(min(FOLDS, len(ordered)))]
    for part, rows in zip(cycle(parts), ordered, strict=False):
        part += rows
    return [np.sort(np.array(part, np.int64)) for part in parts]


def _rank(name: str) -> bytes:
    return hashlib.sha256(f"tf-idf {name}".encode()).digest()


def _fitted(texts: Sequence[str], packed: Packed, train: Rows, rows: Rows, strengths: Sequence[float]) -> Floats:
    """Probabilities (S, n, C) of `rows` by a model of `train` for each strength; 0 for a class that it has none of."""
    from sklearn.linear_model import LogisticRegression

    vectorizer = _vectorizer()
    vectors = vectorizer.fit_transform([texts[row] for row in train])
    labels, probabilities = packed.labels[train], np.zeros((len(strengths), len(rows), len(packed.classes)))
    there = np.unique(labels)
    if len(there) < 2 or not len(rows):
        probabilities[..., there] = 1 / len(there)
        return probabilities
    queries = vectorizer.transform([texts[row] for row in rows])
    for each, strength in zip(probabilities, strengths, strict=True):
        each[:, there] = LogisticRegression(C=strength, max_iter=1000).fit(vectors, labels).predict_proba(queries)
    return probabilities


def _vectorizer() -> Any:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.pipeline import FeatureUnion

    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"(?u)\b\w+\b")  # noqa: S106
    characters = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True)
    return FeatureUnion([("words", words), ("characters", characters)])
