"""Words: how raw text is split, that every word is decided exactly once, and where it has the most context."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as Fast
from tokenizers import models, pre_tokenizers

from tests.tagged import FILLERS, write_tokenizer
from tlpipe.config import ConfigError
from tlpipe.preprocess.windows import deciding, windows
from tlpipe.preprocess.words import WordPreprocess, WordTokenizer, split_words

ODD = ("\u200b", "\x00", "日本語", "[SEP]", "🙂", "naïve", "New York", "a" * 400, "?")


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tokenizer(tmp_path_factory.mktemp("words")) / "tokenizer.json"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Ada's in Ulm, U.S.A.", ["Ada", "'", "s", "in", "Ulm", ",", "U.S.A", "."]),
        ("@ada #math 24-jarige 3.5 %", ["@ada", "#math", "24-jarige", "3.5", "%"]),
        ("naïve  日本語🙂\n\t-- ok", ["naïve", "日本語", "🙂", "-", "-", "ok"]),
        ("", []),
        (" \n ", []),
    ],
)
def test_raw_text_is_split_into_words(text: str, words: list[str]) -> None:
    assert [text[start:end] for start, end in split_words(text)] == words


@given(st.text(max_size=60))
def test_no_visible_character_is_lost(text: str) -> None:
    kept = "".join(text[start:end] for start, end in split_words(text))
    assert kept == "".join(text.split())


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from((*FILLERS, *ODD)), min_size=1, max_size=60), st.integers(0, 17), st.integers(8, 40))
def test_every_word_is_decided_once_and_in_order(tokenizer: Path, words: list[str], stride: int, size: int) -> None:
    stride = min(stride, size - 3)
    found = WordTokenizer(tokenizer, WordPreprocess(max_length=size, stride=stride)).windows(words)
    decided = np.concatenate([window.words[window.words >= 0] for window in found])
    assert decided.tolist() == list(range(len(words)))
    assert all(len(window.ids) == len(window.words) == len(window.types) <= size for window in found)


def test_it_is_the_first_token_of_a_word_that_decides_it(tokenizer: Path) -> None:
    made = WordTokenizer(tokenizer, WordPreprocess(max_length=40, stride=4))
    (window,) = made.windows(["the", "bridgewas", "old", "\u200b"])
    tokens = [made.fast.id_to_token(number) for number in window.ids]
    assert [tokens[at] for at in np.flatnonzero(window.words >= 0)[[0, 2]]] == ["the", "old"]
    assert not tokens[int(np.flatnonzero(window.words == 1)[0])].startswith("##")
    assert sum(token.startswith("##") for token in tokens) > 0
    assert (window.words[[0, -1]] == -1).all()


def test_the_window_with_the_most_context_decides() -> None:
    ranges = windows(20, 10, 6)
    assert ranges == [(0, 10), (4, 14), (8, 18), (10, 20)]
    for token, chosen in enumerate(deciding(20, ranges)):
        contexts = [min(token - start, end - 1 - token) for start, end in ranges]
        assert contexts[chosen] == max(contexts)
        assert contexts.index(max(contexts)) == chosen


def test_a_tokenizer_that_keeps_the_space_before_a_word_gives_the_token_to_that_word(tmp_path: Path) -> None:
    fast = Fast(models.BPE({letter: at for at, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}, []))
    fast.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=False)
    fast.save(str(tmp_path / "tokenizer.json"))
    (window,) = WordTokenizer(tmp_path / "tokenizer.json", WordPreprocess(max_length=30, stride=0)).windows(
        ["ab", "cd"]
    )
    assert window.words.tolist() == [0, -1, -1, 1, -1]


def test_a_stride_as_long_as_a_window_is_refused(tokenizer: Path) -> None:
    with pytest.raises(ConfigError, match="cannot share 10"):
        WordTokenizer(tokenizer, WordPreprocess(max_length=12, stride=10))
