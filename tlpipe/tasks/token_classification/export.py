"""The gate for words: from the same raw text, tokenizer.json and onnxruntime must give torch's entities."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from tlpipe.bundle import Case
from tlpipe.export.golden import Truth, token_sample
from tlpipe.export.onnx import LOGITS, PROBABILITIES, Calibrated, text_graph
from tlpipe.export.parity import Agreed, Choice, Limits, Outputs, ParityError, columns_of, figures, session_of
from tlpipe.export.spec import Export
from tlpipe.export.text_parity import AWKWARD
from tlpipe.golden import GoldenSample
from tlpipe.preprocess.limits import SampleLimits
from tlpipe.preprocess.text import TOKENIZER
from tlpipe.preprocess.words import MAX_CHARACTERS, WordPreprocess
from tlpipe.tagging import Sentence, Tagger
from tlpipe.tasks.shared import text_export
from tlpipe.train.model import About, Classifier

Run = Callable[[np.ndarray], Outputs]
"""Rows (B, inputs, L) -> outputs (B, L, C)."""


@dataclass(frozen=True)
class HeldOutWords:
    """Sentences that the model has not seen, as words, and the tokenizer that it was trained with."""

    raw: Sequence[Sequence[str]]
    tokenizer: Path

    @cached_property
    def files(self) -> dict[str, Path]:
        """What a bundle needs besides the graph."""
        return {TOKENIZER: self.tokenizer}


def compare(path: Path, model: Classifier, about: About, held: HeldOutWords, spec: Export) -> tuple[Case, ...]:
    """Every case's figures for the ONNX file `path`, with the tokenizer.json beside it; one by one and in batches.

    Each sentence is compared as words and, joined by spaces, as a raw text. `same` is the share whose entities, with
    type and place, are the same.

    Raises:
        ParityError: When the file's labels are not the model's, or there are no sentences.
    """
    if not held.raw:
        raise ParityError(
            "there are no held-out sentences to compare torch and onnxruntime on: the test split is empty"
        )
    preprocess = cast(WordPreprocess, about.preprocess)
    truth = Side(Tagger(held.tokenizer, preprocess, about.labels), _torch(model, about))
    found = Side(Tagger(path.with_name(TOKENIZER), preprocess, about.labels), _onnx(path, about))
    joined = [" ".join(words) for words in held.raw]
    samples: dict[str, Sequence[str | Sequence[str]]] = {"words": held.raw, "raw": joined, "awkward": AWKWARD}
    return tuple(
        _case(name, size, truth(texts, size), found(texts, size), spec)
        for name, texts in samples.items()
        for size in (1, spec.batch)
    )


@dataclass(frozen=True)
class Said:
    """What one side says of a text: its words' probabilities and logits (W, C), and the entities."""

    probabilities: np.ndarray
    logits: np.ndarray
    entities: frozenset[tuple[str, int, int]]


@dataclass(frozen=True)
class Side:
    """Torch or onnxruntime, each with its own copy of the tokenizer."""

    tagger: Tagger
    run: Run

    def __call__(self, texts: Sequence[str | Sequence[str]], size: int) -> list[Said]:
        """What it says of each text, `size` rows a call."""
        read = [self.tagger.read(text) for text in texts]
        rows = [(window.ids, window.types) for sentence in read for window in sentence.windows]
        pad = self.tagger.tokenizer.preprocess.pad
        outputs = [self.run(pad(rows[start : start + size])) for start in range(0, len(rows), size)]
        logits, probabilities = ([row for each in outputs for row in getattr(each, name)] for name in NAMES)
        at = np.cumsum([0, *(len(sentence.windows) for sentence in read)])
        return [
            self._said(sentence, logits[low:high], probabilities[low:high])
            for sentence, low, high in zip(read, at, at[1:], strict=False)
        ]

    def _said(self, sentence: Sentence, logits: list[np.ndarray], probabilities: list[np.ndarray]) -> Said:
        found = self.tagger.entities(sentence, probabilities)
        places = frozenset((each["type"], each["start"], each["end"]) for each in found)
        return Said(self.tagger.words(sentence, probabilities), self.tagger.words(sentence, logits), places)


NAMES = ("logits", "probabilities")


def _torch(model: Classifier, about: About) -> Run:
    calibrated = Calibrated(model, about)

    @torch.no_grad()
    def run(rows: np.ndarray) -> Outputs:
        logits, probabilities = calibrated(torch.from_numpy(rows))
        return Outputs(logits.numpy(), probabilities.numpy())

    return run


def _onnx(path: Path, about: About) -> Run:
    session, inputs = session_of(path), about.preprocess.inputs  # type: ignore[union-attr]
    columns = columns_of(session, path, about.labels)

    def run(rows: np.ndarray) -> Outputs:
        feeds = {name: np.ascontiguousarray(rows[:, at]) for at, name in enumerate(inputs)}
        logits, probabilities = session.run([LOGITS, PROBABILITIES], feeds)
        return Outputs(logits[..., columns], probabilities[..., columns])

    return run


def _case(name: str, size: int, truth: Sequence[Said], found: Sequence[Said], spec: Export) -> Case:
    """Differences are between the words' numbers; a tie is a text with other entities whose words are all ties."""
    pairs = list(zip(truth, found, strict=True))
    same = [one.entities == other.entities for one, other in pairs]
    tied = [not equal and _tied(*pair, spec.network_tolerance) for equal, pair in zip(same, pairs, strict=True)]
    agreed = Agreed(len(pairs), float(np.mean(same)), float(np.mean(tied)))
    limits = Limits(spec.network_tolerance, spec.network_tolerance)
    return figures(name, size, (Outputs.together(truth), Outputs.together(found)), agreed, limits, spec.agreement)


def _tied(truth: Said, found: Said, tolerance: float) -> bool:
    """Whether torch, too, puts each tag that onnxruntime chose within the tolerance of its own first."""
    rows, chosen = np.arange(len(truth.probabilities)), found.probabilities.argmax(axis=1)
    return bool((truth.probabilities.max(axis=1) - truth.probabilities[rows, chosen] <= tolerance).all())


def limits(samples: HeldOutWords) -> SampleLimits:
    """What the training refused."""
    return SampleLimits(max_characters=MAX_CHARACTERS)


def held_out(choice: Choice) -> HeldOutWords:
    """The words of the chosen sentences, read from the source again, and the tokenizer of the packed tokens."""
    names = dict.fromkeys(choice.packed.ids[row] for row in choice.rows)
    sentences = [json.loads(choice.source.read(name))["tokens"] for name in names]
    return HeldOutWords(sentences, choice.packed.folder / TOKENIZER)


def golden_samples(truth: Truth, about: About, samples: HeldOutWords, raw: Sequence[Any]) -> Iterator[GoldenSample]:
    """Golden samples of raw sentences."""
    preprocess: Any = about.preprocess
    tagger = Tagger(samples.tokenizer, preprocess, about.labels)
    for words in raw:
        windows = tagger.read(words).windows
        yield token_sample(truth, {"words": list(words)}, [(window.ids, window.types) for window in windows])


graph = text_graph
inputs = text_export.inputs
