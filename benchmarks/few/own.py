"""What tlpipe does with few labelled texts: MiniLM, mean-pooled and frozen, under a cross-fitted head; and TF-IDF."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import sklearn.linear_model  # noqa: F401 - so that no method is charged for importing it
import torch
from numpy.typing import NDArray

from benchmarks.few.cells import Cell, Texts
from benchmarks.few.with_setfit import Clock
from tlpipe.backbones.base import Encoder
from tlpipe.backbones.huggingface import HuggingFace
from tlpipe.config import parse
from tlpipe.data.pack import pack
from tlpipe.data.packed import Packed
from tlpipe.data.spec import Data
from tlpipe.preprocess.ngrams import VOCABULARY, NgramPreprocess, Ngrams, pad, write_vocabulary
from tlpipe.preprocess.text import TOKENIZER, TextPreprocess, Tokenizer
from tlpipe.strategies.tfidf import TfIdf
from tlpipe.train.cache.embed import Features, embed
from tlpipe.train.hardware.device import Runtime
from tlpipe.train.heads.head import Head
from tlpipe.train.heads.linear import cross_fit
from tlpipe.train.heads.tfidf import cross_fit as cross_fit_tfidf

HEAD = Head(penalties=(1.0, 0.1, 0.01, 0.001, 0.0001), balance="none", iterations=500)
"""As in the recipe text_classification."""
LENGTH = 256
"""Tokens that the folder's sentence_bert_config.json has, too."""
Answer = dict[str, Any]


def answers(cell: Cell, minilm: Path, scratch: Path) -> dict[str, Answer]:
    """Predictions and seconds by method, from labelled texts in memory to a fitted model."""
    encoder, preprocess = _encoder(minilm)
    machine, clock = Runtime(device="cpu", precision="fp32", threads=1).resolve(), Clock()
    train = _packed(cell.train, preprocess, minilm, scratch / "train")
    packing = clock.taken()
    for _ in embed(encoder, train, machine, scratch / "features", 64):
        pass
    features = Features.open(scratch / "features")
    head = cross_fit(HEAD, train, features, features.groups[-1:]).fitted
    taken = clock.taken()
    logits = _test_features(cell, minilm, scratch.parent) @ head.weight.numpy().T + head.bias.numpy()
    own = {**taken, "predicted": [train.classes[at] for at in logits.argmax(1)]}
    clock = Clock()
    fitted = cross_fit_tfidf(TfIdf(kind="tfidf"), train)
    taken = {name: value + packing[name] for name, value in clock.taken().items()}
    write_vocabulary(scratch / VOCABULARY, fitted.words, fitted.characters)
    ngrams = Ngrams(scratch / VOCABULARY, NgramPreprocess())
    with torch.no_grad():
        said = fitted.model(torch.from_numpy(pad([ngrams.count((text.strip(),)) for text, _ in cell.test])))
    return {"tlpipe": own, "tf_idf": {**taken, "predicted": [train.classes[at] for at in said.argmax(1)]}}


@cache
def _encoder(minilm: Path) -> tuple[Encoder, TextPreprocess]:
    backbone = HuggingFace(name=str(minilm), pooling="mean", max_length=LENGTH)
    return backbone.pretrained()[0].eval(), backbone.preprocess()


_TESTS: dict[str, NDArray[np.float64]] = {}
"""Features of the texts that judge, by set: the same for all cells."""


def _test_features(cell: Cell, minilm: Path, scratch: Path) -> NDArray[np.float64]:
    if cell.name not in _TESTS:
        encoder, preprocess = _encoder(minilm)
        tokens = Tokenizer(minilm / TOKENIZER, preprocess)
        rows = [(row.ids, row.types) for row in tokens.rows([(text.strip(),) for text, _ in cell.test])]
        with torch.inference_mode():
            parts = [encoder(torch.from_numpy(preprocess.pad([row]))) for row in rows]
        _TESTS[cell.name] = torch.cat(parts).double().numpy()
    return _TESTS[cell.name]


def _packed(texts: Texts, preprocess: TextPreprocess, minilm: Path, folder: Path) -> Packed:
    """The texts as the prepare stage packs them, with as many folds as it takes, and no test split."""
    raw = folder.with_name("raw")
    raw.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps({"text": text, "label": label, "split": "train"}) for text, label in texts]
    # a test split is asked for by nobody here; one text that is judged by nobody stands in it
    lines += [
        json.dumps({"text": f"unused {each}", "label": each, "split": "test"}) for each in {label for _, label in texts}
    ]
    (raw / "texts.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    source = {
        "kind": "text_table",
        "path": str(raw),
        "table": "texts.jsonl",
        "text_column": "text",
        "label_column": "label",
        "split_column": "split",
    }
    data: Data = parse({"source": source, "split": {"folds": 5, "validation": None, "test": None}}, Data, "")
    pack(data, "text_classification", preprocess, folder, tokenizer=minilm)
    return Packed.open(folder)
