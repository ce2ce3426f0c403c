"""Tagged sentences as packed arrays: every word has its tag in exactly one window, and nothing else has one."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.tagged import LABELS, PREPROCESS, conll, pack_tagged, sentence, write_tokenizer
from tlpipe.config import ConfigError, parse
from tlpipe.data.pack import pack
from tlpipe.data.packed import Packed
from tlpipe.data.read_texts import read_texts
from tlpipe.data.spec import Data
from tlpipe.data.targets import IGNORED
from tlpipe.preprocess.words import WordTokenizer

Write = Callable[[Any], Path]


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Packed:
    return pack_tagged(tmp_path_factory.mktemp("words"))


def test_every_word_has_its_tag_once(packed: Packed) -> None:
    assert packed.classes == LABELS
    texts, start = read_texts(packed.folder), {"train": 0, "validation": 24, "test": 34}
    given = {}
    for split, first in start.items():
        line = 1
        for seed in range(first, first + {"train": 24}.get(split, 10)):
            given[f"{split}.conll:{line:08}"] = sentence(seed)
            line += len(sentence(seed)) + 1
    low = 0
    for number, words in enumerate(texts):
        rows = np.flatnonzero(packed.sample_of == number)
        expected = given[packed.ids[rows[0]]]
        assert words == tuple(word for word, _ in expected)
        first, last = packed.targets.range(int(rows[0]), int(rows[-1]) + 1)
        assert [packed.classes[tag] for tag in packed.targets.marks[first:last]] == [tag for _, tag in expected]
        assert first == low
        low = last
    assert low == len(packed.targets.marks)


def test_windows_of_a_sentence_stand_together_and_only_first_tokens_have_labels(packed: Packed) -> None:
    counts = np.bincount(packed.sample_of)
    assert counts.max() > 1
    made, texts = WordTokenizer(packed.folder / "tokenizer.json", PREPROCESS), read_texts(packed.folder)
    row = 0
    for words in texts:
        for window in made.windows(words):
            length = len(window.ids)
            assert packed.samples[[row]][0, 0, :length].tolist() == window.ids.tolist()
            labels = packed.targets.batch([row])[0]
            assert ((labels[:length] != IGNORED) == (window.words >= 0)).all()
            assert (labels[length:] == IGNORED).all()
            row += 1
    assert row == len(packed.ids)
    for split in ("train", "validation", "test"):
        assert (np.diff(packed.lengths[packed.rows(split)]) >= 0).all()


def test_the_manifest_has_a_line_a_window(packed: Packed) -> None:
    with (packed.folder / "manifest.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == len(packed.samples)
    assert max(int(line["windows"]) for line in lines) == np.bincount(packed.sample_of).max()


def run(
    tree: Write, tmp_path: Path, files: dict[str, str], validation: float | None = 0.2, **source: Any
) -> dict[str, Any]:
    root = tree({name: text.encode() for name, text in files.items()})
    split = {"folds": None, "seed": 1, "validation": validation}
    data = parse({"source": {"kind": "conll", "path": str(root), **source}, "split": split}, Data, "data")
    return pack(
        data, "token_classification", PREPROCESS, tmp_path / "out", tokenizer=write_tokenizer(tmp_path / "tokenizer")
    )


def test_near_copies_are_kept_on_one_side_of_a_split(tree: Write, tmp_path: Path) -> None:
    long = [*sentence(1, 25), ("Bo", "B-per")]
    copies = [[*long, (word, "O")] for word in ("old", "ran", "by")]
    report = run(tree, tmp_path, {"a.txt": conll([sentence(seed) for seed in range(2, 40)] + copies)}, file="a.txt")
    (near,) = report["duplicates"]["near"]
    assert len(near["ids"]) == 3
    assert len(set(near["splits"])) == 1
    assert report["entities"]["train"]["per"] > 0
    assert report["tags"] == {"scheme": "iob2", "changed": 0}
    assert report["texts"]["windowed"] > 0


def test_documents_stay_whole(tree: Write, tmp_path: Path) -> None:
    text = "".join(f"-DOCSTART- O\n\n{conll([sentence(4 * n + k) for k in range(4)])}\n" for n in range(12))
    run(tree, tmp_path, {"a.txt": text}, file="a.txt")
    with (tmp_path / "out/manifest.csv").open(newline="") as file:
        where = {(line["group"], line["split"]) for line in csv.DictReader(file)}
    assert len(where) == len({group for group, _ in where})


@pytest.mark.parametrize(
    ("tags", "sentence"),
    [("O", "every tag is O"), ("B-x", "no sentence of the train split has an entity of the type y")],
)
def test_what_cannot_be_learnt_is_refused(tree: Write, tmp_path: Path, tags: str, sentence: str) -> None:
    files = {"a": f"one {tags}\n\ntwo {tags}\n\nthree {tags}\n", "b": "four O\n" if tags == "O" else "four B-y\n"}
    with pytest.raises(ConfigError, match=sentence):
        run(tree, tmp_path, files, None, splits={"train": "a", "validation": "b"})
