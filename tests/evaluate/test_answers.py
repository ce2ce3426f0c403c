from pathlib import Path

import numpy as np
import pytest

from tlpipe.answer_metrics import Version
from tlpipe.config import ConfigError
from tlpipe.evaluate.answers import AnswerPredictions
from tlpipe.evaluate.judged import difference, intervals
from tlpipe.tasks.question_answering.report import outcomes

RIGHT = (("the red car", "car"), (), ("blue",), (), ("a\nline", 'with "quotes"'), ("green",))
SAID = ("red car", "", "blue sky", "something, said", 'with "quotes"', "")
SPLITS = ("validation", "validation", "validation", "test", "test", "test")


def judged(said: tuple[str, ...] = SAID, version: Version = "v2.0") -> AnswerPredictions:
    """In v1.1 every question has an answer."""
    right = RIGHT if version == "v2.0" else tuple(each or ("else",) for each in RIGHT)
    chances = np.array([0.1, 0.8, 0.3, 0.4, 0.2, 0.9], np.float32).astype(np.float64)
    return AnswerPredictions(
        classes=("answered", "unanswered"), rows=np.arange(6) * 2, ids=tuple("abcdef"), splits=SPLITS,
        labels=np.array([not each for each in right], np.int64), probabilities=np.stack([1 - chances, chances], 1),
        said=said, right=right, version=version,
    )  # fmt: skip


def test_figures_are_the_official_ones():
    found = judged().measure()
    assert found == pytest.approx({
        "f1": (1 + 1 + 2 / 3 + 0 + 1 + 0) / 6, "exact_match": 3 / 6, "answered_f1": (1 + 2 / 3 + 1) / 4,
        "answered_exact_match": 2 / 4, "unanswered_f1": 1 / 2,
    })  # fmt: skip
    assert next(iter(found)) == "f1"


def test_it_is_about_whether_there_is_an_answer_too():
    assert judged().predicted.tolist() == [0, 1, 0, 0, 0, 1]
    assert judged().confusion().tolist() == [[3, 1], [1, 1]]
    assert judged().per_class()[1] == ("unanswered", 0.5, 0.5, 0.5, 2)


def test_a_file_keeps_everything(tmp_path: Path):
    for version in ("v1.1", "v2.0"):
        before = judged(version=version)
        before.save(tmp_path / "predictions.csv")
        after = AnswerPredictions.load(tmp_path / "predictions.csv")
        assert after.alike(before)
        assert (after.said, after.right, after.version) == (SAID, before.right, version)
        np.testing.assert_array_equal(after.probabilities, before.probabilities)
        assert (after.rows == before.rows).all()


def test_a_missing_file_says_what_to_do(tmp_path: Path):
    with pytest.raises(ConfigError, match="dvc repro"):
        AnswerPredictions.load(tmp_path / "absent.csv")


def test_splits_mistakes_and_outcomes():
    test = judged().of("test")
    assert (test.ids, test.said, test.size) == (("d", "e", "f"), SAID[3:], 3)
    assert [test.ids[position] for position in test.worst(9)] == ["f", "d"], "the surest first"
    assert outcomes(judged()) == {
        "exact": 2, "partly": 1, "other": 0, "missed": 1, "rightly_none": 1, "invented": 1,
    }  # fmt: skip


def test_paired_differences_and_intervals_are_over_questions():
    better = judged(("car", "", "blue", "", "a line", "green"))
    found = difference([better], [judged()], "f1", 500, 0)
    assert found.value == pytest.approx(1 - judged().measure()["f1"])
    assert found.low < 0 < found.high, "six questions tell nothing"
    around = intervals([judged()], 500, 0)["f1"]
    assert around.low < around.value == judged().measure()["f1"] < around.high


def test_other_answers_are_other_samples():
    other = judged()
    assert judged().alike(other)
    object.__setattr__(other, "right", (("else",), *RIGHT[1:]))
    assert not judged().alike(other)
