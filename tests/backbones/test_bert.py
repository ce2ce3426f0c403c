"""The tokenizer of BERT's pretraining: it must be readable, and every token needs a row of the embeddings."""

import json
from pathlib import Path

import pytest

from tlpipe.backbones.bert import Bert, Size
from tlpipe.config import ConfigError
from tlpipe.data.corpus import train_wordpiece
from tlpipe.preprocess.text import TOKENIZER

WORDS = [f"{a}{b}{c}" for a in "abcdefgh" for b in "ijklmnop" for c in "qrstuvwx"]


@pytest.fixture
def given(tmp_path: Path) -> Path:
    """A tokenizer of exactly 200 tokens, in a folder with a config.json for 150."""
    folder = tmp_path / "given"
    folder.mkdir()
    train_wordpiece(WORDS, 200, True, folder / TOKENIZER)
    (folder / "config.json").write_text(json.dumps({"model_type": "bert", "vocab_size": 150}))
    return folder


def sized(vocabulary: int, corpus: Path, tokenizer: Path | None) -> Bert:
    path = None if tokenizer is None else str(tokenizer)
    size = Size(layers=1, width=16, heads=2, vocabulary=vocabulary, tokenizer=path)
    return Bert(corpus=(str(corpus),), size=size)


def test_a_given_tokenizer_is_copied_if_every_token_has_a_row(given: Path, tmp_path: Path):
    sized(200, given, given / TOKENIZER).prepare_tokenizer(tmp_path)
    assert (tmp_path / TOKENIZER).read_bytes() == (given / TOKENIZER).read_bytes()
    (tmp_path / TOKENIZER).unlink()
    with pytest.raises(ConfigError, match=r"needs 200 rows.*vocabulary is 199: set it to 200"):
        sized(199, given, given / TOKENIZER).prepare_tokenizer(tmp_path)
    assert not (tmp_path / TOKENIZER).exists()


def test_a_start_needs_a_row_for_each_of_its_tokens(given: Path, tmp_path: Path):
    backbone = Bert(corpus=(str(given),), start=str(given))
    with pytest.raises(ConfigError, match=r"needs 200 rows.*config\.json is 150.*of one model"):
        backbone.prepare_tokenizer(tmp_path)
    (given / "config.json").write_text(json.dumps({"model_type": "bert"}))
    backbone.prepare_tokenizer(tmp_path)
    assert (tmp_path / TOKENIZER).is_file()


def test_more_characters_than_rows_are_refused(tmp_path: Path):
    letters = "".join(chr(0x430 + at) for at in range(32))
    (tmp_path / "a.txt").write_text(f"x{letters}{letters.upper()}\n" + "".join(map(chr, range(0x3B1, 0x3C9))) * 2)
    with pytest.raises(ConfigError, match=r"rows.*vocabulary is 100: set it to"):
        sized(100, tmp_path / "a.txt", None).prepare_tokenizer(tmp_path)


def test_a_tokenizer_that_cannot_be_read_is_a_sentence(given: Path, tmp_path: Path):
    (given / TOKENIZER).write_text("{")
    for backbone in (sized(200, given, given / TOKENIZER), Bert(corpus=(str(given),), start=str(given))):
        with pytest.raises(ConfigError, match=r"given.tokenizer\.json is not a tokenizer"):
            backbone.prepare_tokenizer(tmp_path)
    with pytest.raises(ConfigError, match="does not exist"):
        sized(200, given, given / "none.json").prepare_tokenizer(tmp_path)
