import pytest

from tests.asked import pack_asked
from tlpipe.data.asked import asked
from tlpipe.data.packed import Packed
from tlpipe.evaluate.baseline import baselines
from tlpipe.tasks.question_answering.evaluation import likest_sentence, never, words_of


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Packed:
    return pack_asked(tmp_path_factory.mktemp("asked"))


def test_never_an_answer_is_right_exactly_where_there_is_none(packed: Packed):
    found = never(packed).of("test")
    share = sum(not each.answers for each in asked(packed, "test")) / found.size
    assert found.measure()["f1"] == found.measure()["exact_match"] == pytest.approx(share)
    assert found.measure()["unanswered_f1"] == 1
    assert found.measure()["answered_f1"] == 0


def test_the_likest_sentence_is_one_of_the_context(packed: Packed):
    found = likest_sentence(packed)
    questions = {each.id: each for split in ("validation", "test") for each in asked(packed, split)}
    assert set(found.ids) == set(questions)
    assert all(
        text and text in questions[name].passage.context for name, text in zip(found.ids, found.said, strict=True)
    )
    assert found.measure()["unanswered_f1"] == 0
    assert found.measure()["answered_f1"] > 0, "contexts here are one sentence, which has the answer"


def test_of_several_sentences_the_one_that_shares_rare_words(packed: Packed, monkeypatch: pytest.MonkeyPatch):
    each = asked(packed, "test")[0]
    object.__setattr__(each.passage, "context", "The one was there. Towers are rare! Is it the one?  ")
    object.__setattr__(each, "question", "the towers are what")
    monkeypatch.setattr(
        "tlpipe.tasks.question_answering.evaluation.asked",
        lambda packed, split: [each] if split == "test" else asked(packed, split),
    )
    assert likest_sentence(packed).said[-1] == "Towers are rare!"
    assert words_of("Ünï-cödé, 3 Words") == {"ünï", "cödé", "3", "words"}


def test_both_are_in_the_reports_numbers_to_beat(packed: Packed):
    found = baselines(packed, 200, 0)
    assert list(found) == ["never an answer", "sentence that shares most words"]
    for figures in found.values():
        assert next(iter(figures["validation"])) == "f1"
        assert figures["test"]["f1"]["low"] <= figures["test"]["f1"]["value"] <= figures["test"]["f1"]["high"]
