"""From tables of texts to packed tokens: what is rejected, how rows are ordered, and that padding is little."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tlpipe.config import ConfigError, parse
from tlpipe.data.corpus import train_wordpiece
from tlpipe.data.pack import pack
from tlpipe.data.packed import Packed
from tlpipe.data.spec import Data
from tlpipe.preprocess.text import TextPreprocess, Tokenizer, even
from tlpipe.train.inputs.batches import epoch_order

SPEC = TextPreprocess(max_length=16)
Write = Callable[[Any], Path]
WORDS = [f"{a}{b}{c}" for a in "bcdfg" for b in "aeiou" for c in "klmnp"]


def sentence(seed: int) -> str:
    generator = np.random.default_rng(seed)
    return " ".join(generator.choice(WORDS, generator.integers(3, 22)))


@pytest.fixture
def tokenizer(tmp_path: Path) -> Path:
    (tmp_path / "tokenizer").mkdir()
    train_wordpiece(WORDS * 2, 300, True, tmp_path / "tokenizer" / "tokenizer.json")
    return tmp_path / "tokenizer"


def run(tree: Write, tmp_path: Path, tokenizer: Path, lines: list[dict[str, str]], **sections: Any) -> Any:
    root = tree({"t.jsonl": "\n".join(map(json.dumps, lines)).encode()})
    source = {"kind": "text_table", "path": str(root), "table": "t.jsonl", **sections.pop("source", {})}
    split = {"folds": None, **sections.pop("split", {})}
    data = parse({"source": source, "split": split, **sections}, Data, "data")
    report = pack(data, "text_classification", SPEC, tmp_path / "out", tokenizer=tokenizer)
    return report, Packed.open(tmp_path / "out")


def test_rows_are_the_tokens_of_their_texts_the_shortest_of_a_split_first(tree: Write, tmp_path: Path, tokenizer: Path):
    lines = [{"text": sentence(seed), "label": "ab"[seed % 2]} for seed in range(40)]
    report, packed = run(tree, tmp_path, tokenizer, lines)
    assert (report["used"], report["rejected"]) == (40, [])
    assert report["texts"]["tokens"]["max"] == 16
    assert report["texts"]["truncated"] > 0
    encode = Tokenizer(tokenizer / "tokenizer.json", SPEC)
    texts = [json.loads(line) for line in (tmp_path / "out/texts.jsonl").read_text().splitlines()]
    for row, name in enumerate(packed.ids):
        line = lines[int(name.split(":")[1]) - 1]
        assert texts[row] == [line["text"]]
        expected = encode([(line["text"],)])
        length = packed.lengths[row]
        found = packed.samples[[row]][0]
        np.testing.assert_array_equal(found[:, :length], [expected[key][0] for key in SPEC.inputs])
        assert found.shape[1] == length + length % 2
        assert not found[1, length:].any()
        assert packed.classes[packed.labels[row]] == line["label"]
    for split in ("train", "validation", "test"):
        lengths = packed.lengths[packed.rows(split)]
        assert (np.diff(lengths) >= 0).all()
    with (tmp_path / "out/manifest.csv").open() as file:
        assert [int(line["tokens"]) for line in csv.DictReader(file)] == packed.lengths.tolist()


def test_a_batch_is_padded_to_an_even_length_and_slices_are_rows(tree: Write, tmp_path: Path, tokenizer: Path):
    _, packed = run(tree, tmp_path, tokenizer, [{"text": sentence(s), "label": "ab"[s % 2]} for s in range(30)])
    rows = np.array([0, 20, 5])
    batch = packed.samples[rows]
    assert batch.shape == (3, 3, even(int(packed.lengths[rows].max()), SPEC.max_length))
    assert batch[:, 1].sum(1).tolist() == packed.lengths[rows].tolist()
    assert not batch[:, 0][batch[:, 1] == 0].any()
    np.testing.assert_array_equal(packed.samples[2:5], packed.samples[np.arange(2, 5)])


def test_empty_texts_copies_and_leaks_are_found(tree: Write, tmp_path: Path, tokenizer: Path):
    lines = [
        {"text": f"{sentence(seed)} {sentence(seed + 500)}", "label": "ab"[seed % 2], "fold": fold}
        for seed, fold in enumerate(["train", "val", "test"] * 8)
    ]
    leak = {"text": lines[2]["text"].upper() + " !", "label": "a", "fold": "train"}
    conflict = {"text": lines[0]["text"] + " ", "label": "b", "fold": "train"}
    lines += [{"text": "  ", "label": "a", "fold": "train"}, leak, conflict]
    report, packed = run(
        tree, tmp_path, tokenizer, lines, source={"split_column": "fold"},
        split={"validation": None, "test": None}, checks={"near_duplicates": 0.8},
    )  # fmt: skip
    reasons = {int(item["id"].split(":")[1]): item["reason"] for item in report["rejected"]}
    assert reasons == {
        25: "empty",
        26: "near_duplicate_of:t.jsonl:00000003",
        27: "conflicting_labels",
        1: "conflicting_labels",
    }
    assert len(packed.ids) == 23


def test_pairs_have_token_types(tree: Write, tmp_path: Path, tokenizer: Path):
    lines = [{"text": sentence(s), "other": sentence(99 - s), "label": "ab"[s % 2]} for s in range(30)]
    _, packed = run(tree, tmp_path, tokenizer, lines, source={"pair_column": "other"})
    batch = packed.samples[:8]
    assert batch[:, 2].any(axis=1).all()
    assert not batch[:, 2, 0].any()


def test_texts_need_a_tokenizer_and_a_source_of_texts(tree: Write, tmp_path: Path, tokenizer: Path):
    lines = [{"text": sentence(s), "label": "ab"[s % 2]} for s in range(30)]
    with pytest.raises(ConfigError, match="dvc repro"):
        run(tree, tmp_path, tmp_path / "nothing", lines)
    (tmp_path / "tokenizer/tokenizer.json").write_text("{}")
    with pytest.raises(ConfigError, match="not a tokenizer"):
        run(tree, tmp_path, tokenizer, lines)


def test_batches_by_length_hold_every_row_once_with_little_padding():
    generator = np.random.default_rng(0)
    lengths = np.clip(generator.lognormal(3, 0.6, 3000).astype(int), 4, 128)
    rows = np.arange(100, 2900)
    batches = epoch_order(np.zeros(3000, int), rows, 32, False, np.random.default_rng(1), lengths)
    assert sorted(np.concatenate(batches).tolist()) == rows.tolist()
    assert {len(batch) for batch in batches} <= {31, 32}
    padded = sum(len(batch) * even(int(lengths[batch].max()), 128) for batch in batches)
    assert 1 - lengths[rows].sum() / padded < 0.1
    other = epoch_order(np.zeros(3000, int), rows, 32, False, np.random.default_rng(2), lengths)
    assert {frozenset(batch.tolist()) for batch in batches} != {frozenset(batch.tolist()) for batch in other}
    firsts = [lengths[batch].mean() for batch in batches]
    assert firsts != sorted(firsts)
