"""TF-IDF of n-grams in a logistic regression: fitted on sparse counts, kept and exported as a small torch module."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from tlpipe.data.packed import Packed
from tlpipe.data.read_texts import read_texts
from tlpipe.preprocess.ngrams import NgramPreprocess
from tlpipe.strategies.tfidf import TfIdf
from tlpipe.train.heads.head import Point, best_point

ITERATIONS = 1000
UNSEEN = -30.0
"""Logit of a class that there was no text of."""
Rows = NDArray[np.int64]


class NgramModel(nn.Module):
    """Distinct n-grams and their counts (B, 2, L) -> logits (B, C), not divided by the temperature.

    As scikit-learn's `TfidfVectorizer(sublinear_tf=True)` for words and for characters, each of unit length, side by
    side before a linear layer. Only the rows of its weights that a text needs are read.
    """

    def __init__(self, words: int, characters: int, classes: int) -> None:
        super().__init__()
        self.idf = nn.ParameterDict({name: nn.Parameter(torch.zeros(size), requires_grad=False)
                                     for name, size in (("words", words), ("characters", characters))})  # fmt: skip
        self.weight = nn.Parameter(torch.zeros(words + characters, classes))
        self.bias = nn.Parameter(torch.zeros(classes))

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        ids, counts = x[:, 0], x[:, 1]
        idf = torch.cat([self.idf["words"], self.idf["characters"]])
        frequency = torch.where(counts > 0, 1 + counts.clamp(min=1).to(idf.dtype).log(), 0.0)
        values = frequency * idf[ids]
        word = (ids < len(self.idf["words"])).to(idf.dtype)
        lengths = [(values**2 * side).sum(1, keepdim=True).sqrt() for side in (word, 1 - word)]
        length = word * lengths[0] + (1 - word) * lengths[1]
        values = values / length.clamp(min=1e-12)
        logits: Tensor = (values.unsqueeze(1) @ self.weight[ids]).squeeze(1) + self.bias
        return logits


def empty_model(state: dict[str, Tensor]) -> NgramModel:
    """A model of the sizes of a state dict."""
    words, characters = (len(state[f"idf.{name}"]) for name in ("words", "characters"))
    return NgramModel(words, characters, len(state["bias"]))


class Solution(NamedTuple):
    """A logistic regression on the n-grams that are in the texts it was fitted on."""

    kept: tuple[Rows, Rows]
    """Of words and of characters: which n-grams of the corpus."""
    idf: NDArray[np.float64]
    """(V,) words first"""
    weight: NDArray[np.float64]
    """(C, V)"""
    bias: NDArray[np.float64]
    """(C,)"""
    train_loss: float


@dataclass(frozen=True)
class Corpus:
    """The n-grams of texts, counted once for all folds."""

    names: tuple[list[str], list[str]]
    """Of words and of characters, sorted."""
    counts: tuple[Any, Any]
    """CSR matrices (N, V) float64."""

    @classmethod
    def of(cls, texts: Sequence[tuple[str, ...]], preprocess: NgramPreprocess) -> "Corpus":
        """Count them."""
        tables: tuple[dict[str, int], dict[str, int]] = ({}, {})
        parts: tuple[list[Any], list[Any]] = ([], [])
        for text in texts:
            for table, part, counts in zip(tables, parts, preprocess.split(text), strict=True):
                ids = [table.setdefault(name, len(table)) for name in counts]
                part.append((np.array(ids, np.int64), np.array(list(counts.values()), np.float64)))
        blocks = [_matrix(table, part) for table, part in zip(tables, parts, strict=True)]
        return cls((blocks[0][0], blocks[1][0]), (blocks[0][1], blocks[1][1]))

    def vectors(self, rows: Rows, kept: tuple[Rows, Rows], idf: NDArray[np.float64]) -> Any:
        """TF-IDF vectors (n, V) of some texts, CSR: 1 + log(count), times the idf, each block of unit length."""
        from scipy import sparse
        from sklearn.preprocessing import normalize

        blocks, parts = [], np.split(idf, [len(kept[0])])
        for counts, columns, weights in zip(self.counts, kept, parts, strict=True):
            block = counts[rows][:, columns].tocsr()
            block.data = 1 + np.log(block.data)
            blocks.append(normalize(block @ sparse.diags(weights)))
        return sparse.hstack(blocks, format="csr")

    def fit(self, rows: Rows, labels: Rows, classes: int, strategy: TfIdf, weakest: float) -> list[Solution]:
        """Logistic regressions on `rows` with C from the smallest of `strategy.strengths` to `weakest`.

        The idf is ln((1 + N) / (1 + texts with it)) + 1, as scikit-learn smooths it. Each starts where the last ended.
        """
        from sklearn.linear_model import LogisticRegression

        seen = [np.asarray((counts[rows] > 0).sum(0)).ravel() for counts in self.counts]
        kept = (_most_common(seen[0], strategy.most), _most_common(seen[1], strategy.most))
        frequency = np.concatenate([each[columns] for each, columns in zip(seen, kept, strict=True)])
        idf = np.log((1 + len(rows)) / (1 + frequency)) + 1
        vectors, there, found = self.vectors(rows, kept, idf), np.unique(labels), []
        estimator = LogisticRegression(max_iter=ITERATIONS, warm_start=True)
        for strength in sorted(each for each in strategy.strengths if each <= weakest):
            weight, bias = np.zeros((classes, len(idf))), np.full(classes, UNSEEN)
            bias[there] = 0.0
            if len(there) > 1:
                estimator.set_params(C=strength).fit(vectors, labels)
                own, start = estimator.coef_, estimator.intercept_
                if len(there) == 2:  # one row for both
                    own, start = np.concatenate([-own, own]) / 2, np.concatenate([-start, start]) / 2
                weight[there], bias[there] = own, start
            loss = _cross_entropy(vectors @ weight.T + bias, labels)
            found.append(Solution(kept, idf, weight, bias, loss))
        return found

    def logits(self, solution: Solution, rows: Rows) -> Tensor:
        """(n, C) float64 of some texts."""
        scores = self.vectors(rows, solution.kept, solution.idf) @ solution.weight.T + solution.bias
        return torch.from_numpy(np.asarray(scores))


def _matrix(table: dict[str, int], rows: list[Any]) -> tuple[list[str], Any]:
    """The sorted names of a block, and its counts as a CSR matrix in their order."""
    from scipy import sparse

    names = sorted(table)
    position = np.empty(len(names), np.int64)
    position[[table[name] for name in names]] = np.arange(len(names))
    ids = np.concatenate([position[ids] for ids, _ in rows]) if rows else np.zeros(0, np.int64)
    values = np.concatenate([counts for _, counts in rows]) if rows else np.zeros(0)
    starts = np.cumsum([0, *(len(ids) for ids, _ in rows)])
    matrix = sparse.csr_matrix((values, ids, starts), shape=(len(rows), len(names)))
    matrix.sort_indices()
    return names, matrix


def _most_common(seen: NDArray[Any], most: int) -> Rows:
    """The n-grams that are in some text, ascending; of more than `most` those in most texts, equal ones by name."""
    order = np.argsort(-seen, kind="stable")[:most]
    return np.sort(order[seen[order] > 0])


def _cross_entropy(logits: NDArray[np.float64], labels: Rows) -> float:
    return float(functional.cross_entropy(torch.from_numpy(logits), torch.from_numpy(labels)))


class Fitted(NamedTuple):
    """What was chosen on held-out texts, and what ships."""

    model: NgramModel
    words: list[str]
    characters: list[str]
    held_out: Tensor
    """Logits (M, C) of `Packed.pooled`'s validation split, each by a regression that has not seen it."""
    strength: float
    path: tuple[Point, ...]
    """Figures of each C over all held-out texts, from the strongest penalty; `penalty` is 1 / C."""


def cross_fit(strategy: TfIdf, packed: Packed) -> Fitted:
    """C by the lowest cross-entropy of what the parts of the data hold out; then a fit on what ships learns from."""
    preprocess = NgramPreprocess(words=strategy.words, characters=strategy.characters)
    corpus = Corpus.of(read_texts(packed.folder)[: packed.labelled], preprocess)
    tried, classes, every = sorted(strategy.strengths), len(packed.classes), packed.pooled.rows("validation")
    parts = []
    for part in packed.parts:
        rows = part.rows("train")
        fits = corpus.fit(rows, packed.labels[rows], classes, strategy, tried[-1])
        held = part.rows("validation")
        parts.append([(fit.train_loss, corpus.logits(fit, held)) for fit in fits])
    labels = torch.from_numpy(packed.labels[every])
    pooled = [torch.cat([logits for _, logits in alike]) for alike in zip(*parts, strict=True)]
    losses = [float(np.mean([loss for loss, _ in alike])) for alike in zip(*parts, strict=True)]
    path = [
        Point(1 / strength, loss, float(functional.cross_entropy(logits, labels)),
              float((logits.argmax(1) == labels).double().mean()))
        for strength, loss, logits in zip(tried, losses, pooled, strict=True)
    ]  # fmt: skip
    at = best_point(path)
    rows = packed.whole.rows("train") if packed.refit else packed.rows("train")
    solution = corpus.fit(rows, packed.labels[rows], classes, strategy, tried[at])[-1]
    words, characters = ([names[column] for column in kept]
                         for names, kept in zip(corpus.names, solution.kept, strict=True))  # fmt: skip
    return Fitted(_module(solution), words, characters, pooled[at], tried[at], tuple(path))


def _module(solution: Solution) -> NgramModel:
    words, characters = map(len, solution.kept)
    model = NgramModel(words, characters, len(solution.bias))
    idf = torch.from_numpy(solution.idf).float()
    weight, bias = (torch.from_numpy(each).float() for each in (solution.weight.T, solution.bias))
    model.load_state_dict({"idf.words": idf[:words], "idf.characters": idf[words:], "weight": weight, "bias": bias})
    return model.eval()
