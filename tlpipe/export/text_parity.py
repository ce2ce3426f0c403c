"""The gate for texts: from the same raw text, tokenizer.json and onnxruntime must give what torch gives."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import nn

from tlpipe.bundle import Case
from tlpipe.export.onnx import LOGITS, PROBABILITIES, Calibrated
from tlpipe.export.parity import Outputs, ParityError, Tally, columns_of, session_of
from tlpipe.export.spec import Export
from tlpipe.preprocess.ngrams import VOCABULARY, NgramPreprocess, Ngrams, read_vocabulary
from tlpipe.preprocess.text import TOKENIZER, Text, TextPreprocess, Tokenizer
from tlpipe.train.model import About, Classifier

Says = Callable[[Sequence[Text]], Outputs]
AWKWARD = (
    "", " ", "a", "?", "\u200b", "[SEP] [MASK] [CLS]", "naïve Ünïcödé", "日本語のテキスト", "שלום עולם",
    "🙂🙃👩‍👩‍👧", "tab\tand\nnew line\x00null", "no-spaces-" * 40, "word " * 3000,
)  # fmt: skip
"""Texts that break careless tokenizers and graphs: none, white space, unknown scripts, control characters, too long."""


@dataclass(frozen=True)
class HeldOutTexts:
    """Raw texts, or pairs, that the model has not seen, and the file by which it reads them."""

    raw: Sequence[Text]
    tokenizer: Path
    """tokenizer.json, or the vocabulary of a TF-IDF model."""

    @cached_property
    def files(self) -> dict[str, Path]:
        """What a bundle needs besides the graph."""
        return {self.tokenizer.name: self.tokenizer}


def compare_texts(path: Path, model: Classifier, about: About, texts: HeldOutTexts, spec: Export) -> tuple[Case, ...]:
    """Every case's figures for the ONNX file `path`, with the tokenizer.json beside it; one by one and in batches.

    Raises:
        ParityError: When the file's labels are not the model's, or there are no texts.
    """
    preprocess = cast(TextPreprocess, about.preprocess)
    exported = Exported(path, about, Tokenizer(path.with_name(TOKENIZER), preprocess))
    return _compared(Reference(model, about, texts.tokenizer), exported, texts, spec)


def compare_ngrams(path: Path, model: nn.Module, about: About, texts: HeldOutTexts, spec: Export) -> tuple[Case, ...]:
    """As `compare_texts`, with the vocabulary beside the file; the truth is scikit-learn's, from the raw text on.

    Raises:
        ParityError: When the file's labels are not the model's, or there are no texts.
    """
    preprocess = cast(NgramPreprocess, about.preprocess)
    exported = Exported(path, about, Ngrams(path.with_name(VOCABULARY), preprocess))
    return _compared(SklearnReference(model, about, texts.tokenizer), exported, texts, spec)


def _compared(reference: Says, exported: Says, texts: HeldOutTexts, spec: Export) -> tuple[Case, ...]:
    if not texts.raw:
        raise ParityError("there are no held-out texts to compare torch and onnxruntime on: the test split is empty")
    odd = [(text, *texts.raw[0][1:]) for text in AWKWARD]
    tallies = []
    for name, samples in (("raw", texts.raw), ("awkward", odd)):
        for size in (1, spec.batch):
            tally = Tally(name, size, strict=True)
            for start in range(0, len(samples), size):
                part = samples[start : start + size]
                tally.pairs.append((reference(part), exported(part)))
            tallies.append(tally)
    return tuple(tally.result(spec) for tally in tallies)


class Reference:
    """The truth: the training's tokenizer, then the trained model in torch on the CPU."""

    def __init__(self, model: Classifier, about: About, tokenizer: Path) -> None:
        self.model = Calibrated(model, about)
        self.preprocess = cast(TextPreprocess, about.preprocess)
        self.tokenizer = Tokenizer(tokenizer, self.preprocess)

    @torch.no_grad()
    def __call__(self, texts: Sequence[Text]) -> Outputs:
        """Outputs of raw texts."""
        batch = self.preprocess.pad([(row.ids, row.types) for row in self.tokenizer.rows(texts)])
        logits, probabilities = self.model(torch.from_numpy(batch))
        return Outputs(logits.numpy(), probabilities.numpy())


class SklearnReference:
    """The truth of a TF-IDF model: scikit-learn's vectorizers with its vocabulary and idf, in double precision.

    None of the code that counts n-grams here and in the server has a part in it.
    """

    def __init__(self, model: nn.Module, about: About, vocabulary: Path) -> None:
        self.vectorizers = vectorizers(about.preprocess, *read_vocabulary(vocabulary))
        state = {name: value.double().numpy() for name, value in model.state_dict().items()}
        for vectorizer, name in zip(self.vectorizers, ("words", "characters"), strict=True):
            vectorizer.idf_ = state[f"idf.{name}"]
        self.weight, self.bias, self.temperature = state["weight"], state["bias"], about.temperature

    def __call__(self, texts: Sequence[Text]) -> Outputs:
        """Outputs of raw texts."""
        from scipy import sparse
        from scipy.special import softmax

        joined = [" ".join(text) for text in texts]
        vectors = sparse.hstack([vectorizer.transform(joined) for vectorizer in self.vectorizers], format="csr")
        logits = (vectors @ self.weight + self.bias) / self.temperature
        return Outputs(logits.astype(np.float32), softmax(logits, axis=1).astype(np.float32))


def vectorizers(preprocess: Any, words: list[str] | None = None, characters: list[str] | None = None) -> list[Any]:
    """Scikit-learn's, of words and of characters, with these vocabularies in order or ones that are to be fitted."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    pattern = r"(?u)\b\w+\b"
    return [
        TfidfVectorizer(ngram_range=preprocess.words, token_pattern=pattern, sublinear_tf=True, vocabulary=words),
        TfidfVectorizer(
            ngram_range=preprocess.characters, analyzer="char_wb", sublinear_tf=True, vocabulary=characters
        ),
    ]


class Exported:
    """The bundle under test: the reader of texts and the graph of one folder, by onnxruntime on the CPU."""

    def __init__(self, path: Path, about: About, tokenizer: Tokenizer | Ngrams) -> None:
        self.session = session_of(path)
        self.columns = columns_of(self.session, path, about.labels)
        self.tokenizer = tokenizer

    def __call__(self, texts: Sequence[Text]) -> Outputs:
        """Outputs of raw texts."""
        logits, probabilities = self.session.run([LOGITS, PROBABILITIES], self.tokenizer(texts))
        return Outputs(logits[:, self.columns], probabilities[:, self.columns])
