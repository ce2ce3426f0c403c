"""Entities of tagged words, and their F1: exactly what seqeval gives, in its default and its strict mode.

Tags are IOB2: `B-type` begins an entity, `I-type` goes on with it, `O` is none. Where a network says something that
is no IOB2, the modes differ. `default` is conlleval's reading: an `I` that continues nothing begins an entity.
`strict` (seqeval's mode="strict", scheme=IOB2) takes only what begins with `B`.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tlpipe.intervals import uniform
from tlpipe.sums import Floats, SumMetric, ratio

OUTSIDE = "O"
Labels = NDArray[np.int64]


class Entity(NamedTuple):
    """Words [start, end) of a sentence."""

    type: str
    start: int
    end: int


def entities(tags: Sequence[str], strict: bool = False) -> list[Entity]:
    """The entities of a sentence's tags, in order."""
    found: list[Entity] = []
    kind, start = "", 0
    for at, tag in enumerate([*tags, OUTSIDE]):
        prefix, _, now = tag.partition("-")
        if kind and (prefix != "I" or now != kind):
            found.append(Entity(kind, start, at))
            kind = ""
        if prefix == "B" or (prefix == "I" and not kind and not strict):
            kind, start = now, at
    return found


def types_of(tags: Sequence[str]) -> tuple[str, ...]:
    """The types that tags are of, sorted."""
    return tuple(sorted({tag.partition("-")[2] for tag in tags if tag != OUTSIDE}))


def columns(classes: Sequence[str], actual: Labels, predicted: Labels, likelihood: Floats, sentences: Labels) -> Floats:
    """What the metrics of `ENTITY_METRICS` are summed from, a line a sentence: (S, 3 T + 5).

    For each type the entities that are right, predicted and there; the right and the predicted ones in strict mode;
    then words, right words, and the words' negative log-likelihood.

    Args:
        classes: Names of the tags.
        actual: Tag of each word (W,).
        predicted: Likewise.
        likelihood: Negative log-likelihood of each word's actual tag (W,).
        sentences: (W,) which sentence each word is of, ascending.
    """
    types, names = types_of(classes), np.array(classes)
    place = {name: 3 * number for number, name in enumerate(types)}
    edges = np.flatnonzero(np.diff(sentences, prepend=-1, append=-1))
    table = np.zeros((len(edges) - 1, 3 * len(types) + 5))
    for row, low, high in zip(table, edges, edges[1:], strict=False):
        gold, said = (names[labels[low:high]].tolist() for labels in (actual, predicted))
        true, found, exact = set(entities(gold)), set(entities(said)), set(entities(said, strict=True))
        for offset, group in enumerate((true & found, found, true)):
            for entity in group:
                row[place[entity.type] + offset] += 1
        row[-5:] = len(true & exact), len(exact), high - low, (actual[low:high] == predicted[low:high]).sum(), 0
    table[:, -1] = np.add.reduceat(likelihood, edges[:-1]) if len(likelihood) else 0
    return table


def added(table: Floats, classes: Sequence[str]) -> tuple[Floats, Floats, Floats]:
    """Sentences that nobody observed, for intervals: share of each type (T,), wrong ones (T, K), right ones (T, K).

    Each has as many entities, all of one type, as a sentence of the table that has any, and as many words as usual. A
    wrong one has as many predicted as there are; without any types there is one kind, of words alone.
    """
    types = len(types_of(classes))
    true = table[:, 2 : 3 * types : 3]
    total, some = true.sum(axis=0), max(1, int((true.sum(axis=1) > 0).sum()))
    kinds = uniform(total) if types else np.ones(1)
    count, words = total.sum() / some, table[:, -3].mean()
    wrong, right = np.zeros((2, len(kinds), table.shape[1]))
    for each, exact in ((wrong, 0.0), (right, count)):
        for kind in range(types):
            each[kind, 3 * kind : 3 * kind + 3] = exact, count, count
        each[:, -5], each[:, -4], each[:, -3] = exact, count, words
    right[:, -2] = words
    return kinds, wrong, right


def per_type(table: Floats, classes: Sequence[str]) -> list[tuple[str, float, float, float, int]]:
    """(type, precision, recall, F1, entities that are there) of each type, in order."""
    right, said, true = table.sum(axis=0)[:-5].reshape(-1, 3).T
    values = (ratio(right, said), ratio(right, true), ratio(2 * right, said + true), true.astype(np.int64))
    return list(zip(types_of(classes), *(each.tolist() for each in values), strict=True))


def _parts(sums: Floats) -> tuple[Floats, Floats, Floats]:
    """Right, predicted and actual entities by type, each (T, R)."""
    right, said, true = np.moveaxis(sums[:-5].reshape(-1, 3, sums.shape[1]), 1, 0)
    return right, said, true


def _f1(sums: Floats) -> Floats:
    right, said, true = (each.sum(axis=0) for each in _parts(sums))
    return ratio(2 * right, said + true)


def _precision(sums: Floats) -> Floats:
    right, said, _ = (each.sum(axis=0) for each in _parts(sums))
    return ratio(right, said)


def _recall(sums: Floats) -> Floats:
    right, _, true = (each.sum(axis=0) for each in _parts(sums))
    return ratio(right, true)


def _macro_f1(sums: Floats) -> Floats:
    right, said, true = _parts(sums)
    return ratio(ratio(2 * right, said + true).sum(axis=0), (said + true > 0).sum(axis=0))


def _strict_f1(sums: Floats) -> Floats:
    true = _parts(sums)[2].sum(axis=0)
    return ratio(2 * sums[-5], sums[-4] + true)


ENTITY_METRICS: dict[str, SumMetric] = {
    "entity_f1": SumMetric("Entity F1", True, _f1),
    "entity_precision": SumMetric("Entity precision", True, _precision),
    "entity_recall": SumMetric("Entity recall", True, _recall),
    "entity_macro_f1": SumMetric("Entity F1, mean over types", True, _macro_f1),
    "strict_entity_f1": SumMetric("Entity F1, strict IOB2", True, _strict_f1),
    "word_accuracy": SumMetric("Word accuracy", True, lambda sums: ratio(sums[-2], sums[-3])),
    "log_loss": SumMetric("Log loss", False, lambda sums: ratio(sums[-1], sums[-3]), share=False),
}
"""Micro averages over all entities but for the mean over the types that occur; default mode but for the strict one.
`log_loss` is that of words."""
