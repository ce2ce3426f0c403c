"""What a strategy has to beat: methods that need no pretrained network, on the same splits."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlpipe.data.packed import Packed
from tlpipe.data.read_texts import TEXTS
from tlpipe.evaluate.tables import EVALUATED
from tlpipe.metrics import bootstrap, measure

STRENGTHS = (0.1, 1.0, 10.0, 100.0)
"""Inverse penalties C of the logistic regression; validation cross-entropy chooses."""
Probabilities = dict[str, NDArray[np.float64]]


def baselines(packed: Packed, resamples: int, seed: int) -> dict[str, Any]:
    """{name: {"validation": {metric: value}, "test": {metric: {"value", "low", "high"}}}}, empty for images."""
    found: dict[str, Any] = {}
    for name, method in METHODS[packed.preprocess.kind].items():
        said = method(packed)
        validation, test = ((packed.labels[packed.rows(split)], said[split]) for split in EVALUATED)
        intervals = bootstrap(*test, resamples, seed)
        found[name] = {
            "validation": measure(*validation),
            "test": {metric: interval._asdict() for metric, interval in intervals.items()},
        }
    return found


def tf_idf(packed: Packed) -> Probabilities:
    """Words and pairs of words, weighted by TF-IDF, in a logistic regression: probabilities (n, C) by split.

    Fitted on the train split; of a pair, the two texts are one.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    lines = (packed.folder / TEXTS).read_text(encoding="utf-8").split("\n")
    texts = [" ".join(json.loads(line)) for line in lines if line]
    parts = {split: [texts[row] for row in packed.rows(split)] for split in ("train", *EVALUATED)}
    vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"(?u)\b\w+\b")  # noqa: S106
    vectors = {"train": vectorizer.fit_transform(parts["train"])}
    vectors |= {split: vectorizer.transform(parts[split]) for split in EVALUATED}
    train, held_out = (packed.labels[packed.rows(split)] for split in ("train", "validation"))
    models = [LogisticRegression(C=strength, max_iter=1000).fit(vectors["train"], train) for strength in STRENGTHS]
    best = min(models, key=lambda model: measure(held_out, model.predict_proba(vectors["validation"]))["log_loss"])
    return {split: best.predict_proba(vectors[split]) for split in EVALUATED}


METHODS: dict[str, dict[str, Callable[[Packed], Probabilities]]] = {
    "image": {},
    "text": {"TF-IDF + logistic regression": tf_idf},
}
"""By the kind of preprocessing, then by name."""
