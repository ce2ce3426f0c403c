"""Export of tasks on whole texts: tokens or n-grams as inputs, raw held-out texts, and golden samples."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import onnx
from torch import nn

from tlpipe.bundle import Case, Port
from tlpipe.export.golden import Truth, token_sample
from tlpipe.export.onnx import ngram_graph, text_graph
from tlpipe.export.parity import Choice
from tlpipe.export.spec import Export
from tlpipe.export.text_parity import HeldOutTexts, compare_ngrams, compare_texts
from tlpipe.golden import GoldenSample, golden_sample
from tlpipe.preprocess.limits import SampleLimits
from tlpipe.preprocess.ngrams import VOCABULARY, NgramPreprocess, Ngrams, pad
from tlpipe.preprocess.text import TOKENIZER, Tokenizer
from tlpipe.train.model import About, Classifier


def graph(model: nn.Module, about: About, opset: int) -> onnx.ModelProto:
    """Tokens, or n-grams of a TF-IDF model -> `logits`, `probabilities`."""
    if isinstance(about.preprocess, NgramPreprocess):
        return ngram_graph(model, about, opset)
    return text_graph(cast(Classifier, model), about, opset)


def inputs(preprocess: Any) -> tuple[Port, ...]:
    """What the graph takes: rows of tokens, or of n-grams."""
    return tuple(Port(name=name, dtype="int64", shape=("batch", "length"), layout="NL") for name in preprocess.inputs)


def limits(samples: HeldOutTexts) -> SampleLimits:
    """What the training refused."""
    return SampleLimits()


def compare(path: Path, model: nn.Module, about: About, texts: HeldOutTexts, spec: Export) -> tuple[Case, ...]:
    """The gate: see `tlpipe.export.text_parity`."""
    if isinstance(about.preprocess, NgramPreprocess):
        return compare_ngrams(path, model, about, texts, spec)
    return compare_texts(path, cast(Classifier, model), about, texts, spec)


def held_out(choice: Choice) -> HeldOutTexts:
    """The chosen raw texts, read from the source again, and the tokenizer or the vocabulary by which they are read."""
    texts = [tuple(json.loads(choice.source.read(choice.packed.ids[row]))) for row in choice.rows]
    ngrams = isinstance(choice.preprocess, NgramPreprocess)
    return HeldOutTexts(texts, choice.champion / VOCABULARY if ngrams else choice.packed.folder / TOKENIZER)


def golden_samples(truth: Truth, about: About, samples: HeldOutTexts, raw: Sequence[Any]) -> Iterator[GoldenSample]:
    """Golden samples of raw texts, or pairs."""
    named = [dict(zip(("text", "pair"), texts, strict=False)) for texts in raw]
    if isinstance(about.preprocess, NgramPreprocess):
        ngrams = Ngrams(samples.tokenizer, about.preprocess)
        for sample, texts in zip(named, raw, strict=True):
            content = json.dumps(sample, ensure_ascii=False).encode()
            yield golden_sample("application/json", content, (truth(pad([ngrams.count(texts)])),))
        return
    preprocess: Any = about.preprocess
    rows = Tokenizer(samples.tokenizer, preprocess).rows(raw)
    for sample, row in zip(named, rows, strict=True):
        yield token_sample(truth, sample, [(row.ids, row.types)])
