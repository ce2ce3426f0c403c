"""From raw text to entities with their places, through windows and back."""

import numpy as np
import pytest

from tests.tagged import LABELS, write_tokenizer
from tlpipe.preprocess.words import WordPreprocess
from tlpipe.tagging import Sentence, Tagger


@pytest.fixture(scope="module")
def tagger(tmp_path_factory: pytest.TempPathFactory) -> Tagger:
    tokenizer = write_tokenizer(tmp_path_factory.mktemp("tagging")) / "tokenizer.json"
    return Tagger(tokenizer, WordPreprocess(max_length=12, stride=4), LABELS)


def say(tagger: Tagger, sentence: Sentence, tags: list[str], sure: float = 0.9) -> list[np.ndarray]:
    """Probabilities by which each word has its tag where it is decided; elsewhere nonsense."""
    outputs = []
    for window in sentence.windows:
        scores = np.full((len(window.words) + 3, len(LABELS)), (1 - sure) / (len(LABELS) - 1))
        for row, word in enumerate(window.words):
            scores[row, LABELS.index(tags[word]) if word >= 0 else 0] = sure
        outputs.append(scores)
    return outputs


def test_places_count_characters_of_the_raw_text(tagger: Tagger) -> None:
    text = "  naïve 🙂 Kurt Gödel\tran in New  York, Ulm"
    sentence = tagger.read(text)
    tags = ["O", "O", "B-per", "I-per", "O", "O", "B-place", "I-place", "O", "B-place"]
    found = tagger.entities(sentence, say(tagger, sentence, tags))
    assert [(each["type"], each["text"]) for each in found] == [
        ("per", "Kurt Gödel"), ("place", "New  York"), ("place", "Ulm"),
    ]  # fmt: skip
    assert all(text[each["start"] : each["end"]] == each["text"] for each in found)
    assert all(each["score"] == pytest.approx(0.9) for each in found)


def test_an_entity_across_two_windows_is_one(tagger: Tagger) -> None:
    words = ["the"] * 40
    words[17:22] = ["New", "York", "Rio", "Ulm", "Bo"]
    tags = ["O"] * 40
    tags[17:22] = ["B-place", "I-place", "I-place", "I-place", "B-per"]
    sentence = tagger.read(words)
    assert len(sentence.windows) > 3
    found = tagger.entities(sentence, say(tagger, sentence, tags))
    assert [each["text"] for each in found] == ["New York Rio Ulm", "Bo"]


def test_words_and_the_same_text_are_read_alike(tagger: Tagger) -> None:
    words = ["Ada", "ran", ",", "Bo", "ran"]
    one, other = tagger.read(words), tagger.read(" ".join(words))
    assert one.spans == other.spans
    assert all(np.array_equal(a.ids, b.ids) for a, b in zip(one.windows, other.windows, strict=True))


@pytest.mark.parametrize("text", ["", " ", []])
def test_nothing_holds_nothing(tagger: Tagger, text: str | list[str]) -> None:
    sentence = tagger.read(text)
    assert len(sentence.windows) == 1
    assert tagger.entities(sentence, [np.zeros((2, len(LABELS)))]) == []
