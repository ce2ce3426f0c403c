"""The gate for texts: from the same raw text, tokenizer.json and onnxruntime must give what torch gives."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import cast

import torch

from tlpipe.bundle import Case
from tlpipe.export.onnx import LOGITS, PROBABILITIES, Calibrated
from tlpipe.export.parity import Outputs, ParityError, Tally, columns_of, session_of
from tlpipe.export.spec import Export
from tlpipe.preprocess.text import TOKENIZER, Text, TextPreprocess, Tokenizer
from tlpipe.train.model import About, Classifier

AWKWARD = (
    "", " ", "a", "?", "\u200b", "[SEP] [MASK] [CLS]", "naïve Ünïcödé", "日本語のテキスト", "שלום עולם",
    "🙂🙃👩‍👩‍👧", "tab\tand\nnew line\x00null", "no-spaces-" * 40, "word " * 3000,
)  # fmt: skip
"""Texts that break careless tokenizers and graphs: none, white space, unknown scripts, control characters, too long."""


@dataclass(frozen=True)
class HeldOutTexts:
    """Raw texts, or pairs, that the model has not seen, and the tokenizer that it was trained with."""

    raw: Sequence[Text]
    tokenizer: Path

    @cached_property
    def files(self) -> dict[str, Path]:
        """What a bundle needs besides the graph."""
        return {TOKENIZER: self.tokenizer}


def compare_texts(path: Path, model: Classifier, about: About, texts: HeldOutTexts, spec: Export) -> tuple[Case, ...]:
    """Every case's figures for the ONNX file `path`, with the tokenizer.json beside it; one by one and in batches.

    Raises:
        ParityError: When the file's labels are not the model's, or there are no texts.
    """
    if not texts.raw:
        raise ParityError("there are no held-out texts to compare torch and onnxruntime on: the test split is empty")
    reference = Reference(model, about, texts.tokenizer)
    exported = Exported(path, about)
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


class Exported:
    """The bundle under test: the tokenizer and the graph of one folder, by onnxruntime on the CPU."""

    def __init__(self, path: Path, about: About) -> None:
        self.session = session_of(path)
        self.columns = columns_of(self.session, path, about.labels)
        self.tokenizer = Tokenizer(path.with_name(TOKENIZER), cast(TextPreprocess, about.preprocess))

    def __call__(self, texts: Sequence[Text]) -> Outputs:
        """Outputs of raw texts."""
        logits, probabilities = self.session.run([LOGITS, PROBABILITIES], self.tokenizer(texts))
        return Outputs(logits[:, self.columns], probabilities[:, self.columns])
