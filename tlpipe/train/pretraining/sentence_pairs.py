"""What BERT is pretrained on: pairs of segments, half of them neighbours, with tokens hidden anew each time.

Sources: Devlin et al. 2019 (arXiv 1810.04805, A.2) and google-research/bert, create_pretraining_data.py; here the
masks are dynamic (Liu et al. 2019, arXiv 1907.11692) and the random tokens are never special ones.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tlpipe.data.corpus import Corpus
from tlpipe.preprocess.text import even

SHORT = 0.1
"""Share of the pairs whose target length is drawn, so that the model also sees short texts."""
IGNORED = -100
HIDDEN, RANDOM = 0.8, 0.1
"""Of the chosen tokens: shown as [MASK], and as a random one; the rest is shown as it is."""
Ids = NDArray[np.int64]


class Pair(NamedTuple):
    """Token ranges [start, stop) of the two segments, and whether the second one follows the first."""

    first: tuple[int, int]
    second: tuple[int, int]
    follows: bool


def pairs(corpus: Corpus, documents: Sequence[int], length: int, generator: np.random.Generator) -> list[Pair]:
    """One pass over `documents`: every sentence is in a first segment, or in the neighbour that follows it.

    The segments of a pair have together about `length` tokens. A coin decides whether the second one is the neighbour
    or from another document; the sentences that it displaces then begin the next pair. Segments end where sentences
    do, but for a chunk of one sentence, which is cut anywhere: each kind of pair has half of the chunks.
    """
    drawn: list[Pair] = []
    places = corpus.sentences
    for document in documents:
        start, end = int(corpus.documents[document]), int(corpus.documents[document + 1])
        while start < end:
            target = length if generator.random() >= SHORT else int(generator.integers(2, length + 1))
            stop = _stop(places, start, end, target)
            low, high = int(places[start]), int(places[stop])
            middle = int(generator.integers(start + 1, stop)) if stop - start > 1 else stop
            if high - low > 1 and generator.random() < 0.5:
                cut = int(places[middle]) if middle < stop else int(generator.integers(low + 1, high))
                drawn.append(Pair((low, cut), (cut, high), True))
                start = stop
                continue
            cut = int(places[middle])
            if cut > low:
                room = max(1, target - (cut - low))
                drawn.append(Pair((low, cut), _elsewhere(corpus, documents, document, room, generator), False))
            start = middle
    return drawn


def _stop(places: NDArray[np.int64], start: int, end: int, target: int) -> int:
    """The sentence before which `target` tokens from sentence `start` on are reached; at most `end`."""
    return min(end, int(np.searchsorted(places[start + 1 : end + 1], places[start] + target)) + start + 1)


def _elsewhere(
    corpus: Corpus, documents: Sequence[int], but: int, room: int, generator: np.random.Generator
) -> tuple[int, int]:
    at = int(generator.integers(len(documents) - 1))
    other = documents[at] if documents[at] != but else documents[-1]
    low, high = int(corpus.documents[other]), int(corpus.documents[other + 1])
    start = int(generator.integers(low, high))
    return int(corpus.sentences[start]), int(corpus.sentences[_stop(corpus.sentences, start, high, room)])


@dataclass(frozen=True)
class Masked:
    """A batch: (B, L) inputs and, where a token is to be predicted, its id (elsewhere IGNORED); (B,) 1 = not next."""

    tokens: Ids
    """(B, 3, L): ids, mask, token types."""
    labels: Ids
    unrelated: Ids

    def part(self, rows: slice) -> "Masked":
        """The sequences at `rows`."""
        return Masked(self.tokens[rows], self.labels[rows], self.unrelated[rows])


def assemble(corpus: Corpus, chosen: Sequence[Pair], length: int, generator: np.random.Generator) -> list[Ids]:
    """[CLS] a [SEP] b [SEP] of each pair with its token types, (2, L_i); at most `length` tokens.

    The longer segment is cut first, at its front or its back by a coin.
    """
    rows = []
    for pair in chosen:
        first, second = (corpus.tokens[start:stop] for start, stop in (pair.first, pair.second))
        while len(first) + len(second) > length - 3:
            if len(first) > len(second):
                first = first[1:] if generator.random() < 0.5 else first[:-1]
            else:
                second = second[1:] if generator.random() < 0.5 else second[:-1]
        begin, end = corpus.special["[CLS]"], corpus.special["[SEP]"]
        ids = np.concatenate([[begin], first, [end], second, [end]]).astype(np.int64)
        types = np.zeros(len(ids), np.int64)
        types[len(first) + 2 :] = 1
        rows.append(np.stack([ids, types]))
    return rows


def mask(ids: Ids, corpus: Corpus, share: float, whole_words: bool, generator: np.random.Generator) -> tuple[Ids, Ids]:
    """(what is shown, labels) of the tokens (L,) of one sequence.

    `share` of all tokens, at least one, is chosen, never a special one; with `whole_words` all pieces of a word or
    none, as long as they fit into that number.
    """
    usable = np.flatnonzero(corpus.ordinary[ids])
    labels = np.full(len(ids), IGNORED, np.int64)
    if not len(usable):
        return ids, labels
    wanted = max(1, round(share * len(ids)))
    chosen = _words(ids, usable, corpus, wanted, generator) if whole_words else generator.permutation(usable)[:wanted]
    labels[chosen] = ids[chosen]
    shown, fate = ids.copy(), generator.random(len(chosen))
    shown[chosen[fate < HIDDEN]] = corpus.special["[MASK]"]
    replaced = chosen[(fate >= HIDDEN) & (fate < HIDDEN + RANDOM)]
    shown[replaced] = generator.choice(np.flatnonzero(corpus.ordinary), len(replaced))
    return shown, labels


def _words(ids: Ids, usable: Ids, corpus: Corpus, wanted: int, generator: np.random.Generator) -> Ids:
    starts = ~corpus.continues[ids[usable]]
    starts[1:] |= np.diff(usable) > 1
    words = np.split(usable, np.flatnonzero(starts[1:]) + 1)
    taken: list[Ids] = []
    for at in generator.permutation(len(words)):
        if sum(map(len, taken)) + len(words[at]) <= wanted or not taken:
            taken.append(words[at])
    return np.concatenate(taken)


def collate(
    corpus: Corpus,
    chosen: Sequence[Pair],
    length: int,
    masking: tuple[float, bool],
    generator: np.random.Generator,
) -> Masked:
    """The batch of the `chosen` pairs, padded to its longest; `masking` is (share, whole words)."""
    rows = assemble(corpus, chosen, length, generator)
    longest = even(max(row.shape[1] for row in rows), length)
    tokens = np.zeros((len(rows), 3, longest), np.int64)
    tokens[:, 0] = corpus.special["[PAD]"]
    labels = np.full((len(rows), longest), IGNORED, np.int64)
    for index, row in enumerate(rows):
        size = row.shape[1]
        shown, wanted = mask(row[0], corpus, *masking, generator)
        tokens[index, 0, :size], tokens[index, 1, :size], tokens[index, 2, :size] = shown, 1, row[1]
        labels[index, :size] = wanted
    return Masked(tokens, labels, np.array([not pair.follows for pair in chosen], np.int64))
