"""The golden samples of a bundle: which held-out samples they are, and what torch says of them."""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from io import BytesIO
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from tlpipe.export.onnx import Calibrated
from tlpipe.export.parity import HeldOut, Pictures, noisy
from tlpipe.export.spec import Export
from tlpipe.golden import Golden, GoldenSample, golden_sample
from tlpipe.preprocess.ngrams import NgramPreprocess, Ngrams, pad
from tlpipe.preprocess.questions import Questions
from tlpipe.preprocess.text import Tokenizer
from tlpipe.tagging import Tagger
from tlpipe.train.model import About

LARGEST = 1.5
"""Longest side of a golden image, in edges of the resize: larger ones are cut, so that the bundle stays small."""
Tokens = tuple[NDArray[np.int32], NDArray[np.uint8]]
"""Ids and token types of one row."""


def keep(samples: Any, count: int) -> tuple[Any, list[Any]]:
    """(samples to go on with, `count` of them evenly spread): images are read only once, and are kept as they pass."""
    kept: list[Any] = []
    if not isinstance(samples, HeldOut):
        return samples, [samples.raw[at] for at in _spread(len(samples.raw), count)]
    return replace(samples, raw=_passing(samples.raw, set(_spread(len(samples.packed), count)), kept)), kept


def _spread(size: int, count: int) -> list[int]:
    return np.unique(np.linspace(0, size - 1, min(count, size)).astype(int)).tolist() if size and count else []


def _passing(images: Iterable[Pictures], wanted: set[int], kept: list[Any]) -> Iterator[Pictures]:
    for at, image in enumerate(images):
        if at in wanted:
            kept.append(image)
        yield image


class Truth:
    """Outputs of single rows, by the trained model in torch on the CPU."""

    def __init__(self, model: nn.Module, about: About) -> None:
        self.model, self.names, self.preprocess = Calibrated(model, about), about.task.outputs, about.preprocess

    @torch.no_grad()
    def __call__(self, row: NDArray[Any]) -> dict[str, list[Any]]:
        """Of one input of the network (1, ...), by the output's name."""
        outputs = self.model(torch.from_numpy(row))
        return {name: value[0].tolist() for name, value in zip(self.names, outputs, strict=True)}


def golden(model: nn.Module, about: About, samples: Any, raw: Sequence[Any], spec: Export) -> Golden | None:
    """The golden samples made of `raw`, and for images one of coloured noise; None where none are wanted."""
    if not raw:
        return None
    truth = Truth(model, about)
    made = tuple(KINDS[about.preprocess.kind](truth, about, samples, raw))
    return Golden(tolerance=spec.tolerance, network_tolerance=spec.network_tolerance, samples=made)


def _images(truth: Truth, about: About, samples: Any, raw: Sequence[Pictures]) -> Iterator[GoldenSample]:
    preprocess: Any = about.preprocess
    most = int(LARGEST * preprocess.resize_to)
    for image in (*(_cut(image, most) for image in raw), next(noisy(raw[0], preprocess.resize_to))):
        file = BytesIO()
        Image.fromarray(image).save(file, "PNG", optimize=True)
        yield golden_sample("image/png", file.getvalue(), (truth(preprocess(image)[None]),))


def _cut(image: Pictures, most: int) -> Pictures:
    top, left = (max(0, side - most) // 2 for side in image.shape[:2])
    return image[top : top + most, left : left + most]


def _texts(truth: Truth, about: About, samples: Any, raw: Sequence[Any]) -> Iterator[GoldenSample]:
    preprocess: Any = about.preprocess
    tokenizer = Tokenizer(samples.tokenizer, preprocess)
    for texts, row in zip(raw, tokenizer.rows(raw), strict=True):
        yield _tokens(truth, dict(zip(("text", "pair"), texts, strict=False)), [(row.ids, row.types)])


def _ngrams(truth: Truth, about: About, samples: Any, raw: Sequence[Any]) -> Iterator[GoldenSample]:
    ngrams = Ngrams(samples.tokenizer, cast(NgramPreprocess, about.preprocess))
    for texts in raw:
        content = json.dumps(dict(zip(("text", "pair"), texts, strict=False)), ensure_ascii=False).encode()
        yield golden_sample("application/json", content, (truth(pad([ngrams.count(texts)])),))


def _words(truth: Truth, about: About, samples: Any, raw: Sequence[Any]) -> Iterator[GoldenSample]:
    preprocess: Any = about.preprocess
    tagger = Tagger(samples.tokenizer, preprocess, about.labels)
    for words in raw:
        windows = tagger.read(words).windows
        yield _tokens(truth, {"words": list(words)}, [(window.ids, window.types) for window in windows])


def _questions(truth: Truth, about: About, samples: Any, raw: Sequence[Any]) -> Iterator[GoldenSample]:
    preprocess: Any = about.preprocess
    for pair, passage in zip(raw, Questions(samples.tokenizer, preprocess)(list(raw)), strict=True):
        rows = [(window.ids, window.types) for window in passage.windows]
        yield _tokens(truth, dict(zip(("question", "context"), pair, strict=True)), rows)


def _tokens(truth: Truth, sample: dict[str, Any], rows: Sequence[Tokens]) -> GoldenSample:
    preprocess: Any = truth.preprocess
    content = json.dumps(sample, ensure_ascii=False).encode()
    return golden_sample("application/json", content, tuple(truth(preprocess.pad([row])) for row in rows))


KINDS: dict[str, Callable[[Truth, About, Any, Sequence[Any]], Iterator[GoldenSample]]] = {
    "image": _images,
    "text": _texts,
    "words": _words,
    "questions": _questions,
    "ngrams": _ngrams,
}
"""How raw samples become golden ones, by the kind of preprocessing."""
