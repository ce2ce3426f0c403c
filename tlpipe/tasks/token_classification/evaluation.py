"""Evaluation of token classification: predictions of words, judged by entities; the usual tag as a baseline."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tlpipe.data.packed import Packed, Split
from tlpipe.data.read_texts import read_texts
from tlpipe.evaluate.tags import TagPredictions

Probabilities = dict[Split, NDArray[np.float64]]
Predictions = TagPredictions


def usual_tag(packed: Packed) -> Probabilities:
    """Each word's most frequent tag in the training sentences; of an unseen word, the most frequent of all.

    Probabilities are the word's shares, with all words' shares as one more occurrence. Held-out sentences are judged by
    what the others say, those of the test split by all that what ships is trained on.
    """
    texts = iter(read_texts(packed.folder))
    words = [word for _ in dict.fromkeys(packed.sample_of.tolist()) for word in next(texts)]
    held = [_tags(part, words, "validation") for part in packed.parts]
    return {"validation": np.concatenate(held), "test": _tags(packed.whole if packed.refit else packed, words, "test")}


def _tags(packed: Packed, words: Sequence[str], split: Split) -> NDArray[np.float64]:
    """Shares of the tags (W, C) of each word of a split, by the train split of this view."""
    classes, train = len(packed.classes), packed.marks("train")
    tags = packed.targets.marks[train]
    every = np.bincount(tags, minlength=classes) / max(1, len(train))
    counts: dict[str, NDArray[np.float64]] = {}
    for mark, tag in zip(train, tags, strict=True):
        counts.setdefault(words[mark], every.copy())[tag] += 1
    known = {word: each / each.sum() for word, each in counts.items()}
    return np.array([known.get(words[mark], every) for mark in packed.marks(split)]).reshape(-1, classes)


def _usual_tags(packed: Packed) -> TagPredictions:
    return TagPredictions.assemble(packed.pooled, usual_tag(packed))


BASELINES = {"most frequent tag of each word": _usual_tags}
