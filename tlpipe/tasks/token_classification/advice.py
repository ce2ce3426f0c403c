"""Advice on token classification: the F1 of entities; folds never tear a sentence apart."""

import numpy as np

from tlpipe.advise.marks import Kind, of_words, rarest
from tlpipe.advise.scores import CARRIED, Score
from tlpipe.data.packed import Packed


def _entities(packed: Packed, low: int, high: int) -> int:
    begins = np.array([name.startswith("B-") for name in packed.classes])
    return int(begins[packed.targets.marks[slice(*packed.targets.range(low, high))]].sum())


SCORE = Score(
    name="entity_f1",
    title="entity F1",
    validation="entity_f1",
    test="entity_f1",
    samples="sentences",
    examples="entities a type",
    doubt=CARRIED,
    exact=True,
    count=_entities,
    classes=lambda packed: sum(name.startswith("B-") for name in packed.classes),
)
MARKS = Kind(
    sample=lambda packed, count: packed.sample_of[:count],
    strata=rarest,
    marks=lambda packed, labels, samples: of_words(labels, samples, packed.classes),
)
