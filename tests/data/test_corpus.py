"""The tokenizer that is trained on plain text: equal texts give equal files, whatever a hash table's order is."""

import json
from pathlib import Path

from tlpipe.data.corpus import SPECIAL, train_wordpiece

TEXTS = [f"{a}{b} {b}{a}{a} {a}-{b}" for a in "abcdefgh" for b in "uvwxyz"]


def test_equal_texts_give_equal_files(tmp_path: Path):
    for index in range(6):
        train_wordpiece(iter(TEXTS), 70, True, tmp_path / f"{index}.json")
    assert len({(tmp_path / f"{index}.json").read_bytes() for index in range(6)}) == 1
    about = json.loads((tmp_path / "0.json").read_text())
    assert list(about["model"]["vocab"])[: len(SPECIAL)] == list(SPECIAL)
    assert [each["content"] for each in about["added_tokens"]] == list(SPECIAL)
    assert len(about["model"]["vocab"]) == 70


def test_pieces_of_words_are_no_special_tokens(tmp_path: Path):
    from tokenizers import Tokenizer

    train_wordpiece(TEXTS, 70, True, tmp_path / "tokenizer.json")
    tokenizer = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    encoded = tokenizer.encode("##u au")
    assert encoded.tokens[1:3] == ["[UNK]", "[UNK]"]
    assert sum(encoded.special_tokens_mask) == 2
