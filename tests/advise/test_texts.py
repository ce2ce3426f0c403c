"""Advice on texts: a probe at every depth reads the first token's state beside the mean over the tokens."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from tlpipe.advise.evidence import gather, subject
from tlpipe.advise.passes import look, shares
from tlpipe.backbones.bert import Bert, Size
from tlpipe.config import parse
from tlpipe.data.corpus import train_wordpiece
from tlpipe.data.pack import pack
from tlpipe.data.packed import Packed
from tlpipe.data.spec import Data
from tlpipe.train.hardware.device import Machine

BERT = Bert(corpus=("x",), size=Size(layers=2, width=16, heads=2, vocabulary=100), max_length=20, pooling="mean")
SUBJECTS = {"sea": ("wave", "tide", "sail"), "hill": ("rock", "goat", "peak")}
FILLERS = ("the", "old", "was", "seen", "and", "one", "more")


@pytest.fixture
def texts(tmp_path: Path) -> Packed:
    """Texts of few and of many words; one of them in three tells the class."""
    generator, lines = np.random.default_rng(0), []
    for number in range(120):
        label = ("sea", "hill")[number % 2]
        words = [str(generator.choice(SUBJECTS[label] if at % 3 == 0 else FILLERS)) for at in range(4 + number % 14)]
        lines.append(json.dumps({"text": " ".join(words), "label": label, "split": "test" if number < 20 else "train"}))
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw/t.jsonl").write_text("\n".join(lines))
    (tmp_path / "tokenizer").mkdir()
    known = [*FILLERS, *SUBJECTS["sea"], *SUBJECTS["hill"]]
    train_wordpiece(known * 3, 100, True, tmp_path / "tokenizer/tokenizer.json")
    source = {"kind": "text_table", "path": str(tmp_path / "raw"), "table": "t.jsonl", "split_column": "split"}
    split, checks = {"validation": 0.2, "test": None}, {"near_duplicates": None}
    data = parse({"source": source, "split": split, "checks": checks}, Data, "data")
    pack(data, "text_classification", BERT.preprocess(), tmp_path / "packed", tokenizer=tmp_path / "tokenizer")
    return Packed.open(tmp_path / "packed")


def test_probes_read_the_first_token_and_the_mean_at_every_depth(texts: Packed, machine: Machine) -> None:
    torch.manual_seed(0)
    encoder, control = BERT.encoder(), BERT.encoder()
    seen = subject(texts, texts.ranges["test"][0], 80, 0)
    rows, depths = seen.rows, look(encoder, texts, seen.rows, machine).depths
    assert {group: each.shape[1] for group, each in depths.items()} == {"embeddings": 32, "layer1": 32, "layer2": 16}
    x = torch.from_numpy(texts.samples[rows[-3:]])
    with torch.no_grad():
        tokens = encoder.model.embeddings(input_ids=x[:, 0], token_type_ids=x[:, 2])
        shown = x[:, 1].unsqueeze(-1)
        expected = torch.cat([tokens[:, 0], (tokens * shown).sum(1) / shown.sum(1)], 1).numpy()
    assert np.allclose(depths["embeddings"][-3:], expected, atol=1e-5)
    found = gather(depths, encoder, control, texts, seen, machine, 0, 1)
    assert (found.samples, found.classes, found.shift) == (len(rows), 2, None)
    assert found.depths["embeddings"].accuracy > 0.9
    assert found.linearised is not None
    share = shares(encoder, texts, machine)
    assert share[1] == 0  # to look embeddings up is no multiplication
    assert share[2] == pytest.approx(0.5)
