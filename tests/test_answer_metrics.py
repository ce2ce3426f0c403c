"""Against a transcription of the definitions, step by step as the official scripts have them, and by hand."""

import re
import string
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tlpipe.answer_metrics import (
    ADDED,
    ANSWER_METRICS,
    Scored,
    Version,
    best_threshold,
    columns,
    exact_match,
    f1,
    normalised,
    right_answers,
    score,
)
from tlpipe.intervals import Design, Interval, clusters, of_share
from tlpipe.sums import draw_sums, measure_sums

AWKWARD = [
    "", " ", "the", "The", "a", "an A the", "a.", "...", "U.S.", "US", "u s", "the U.S. army", "army of the US",
    "théâtre", "The Theater", "a theater", "athe", "an-the-a", "the-end", "end", "“end”", "end\u2019s", "ends", "end's",
    "10,000", "10000", "$10", "10", "10 %", "Tōkyō", "TŌKYŌ", "İstanbul", "istanbul", "ß", "SS", "x x y", "x y y", "x",
    "  x\t\ny\u00a0", "x y", "日本 語", "日本語", "_a_", "a_b", "ab", "\u200bx", "the the", "1990s", "1990's",
]  # fmt: skip
"""Articles inside words and beside punctuation, nothing left, other scripts' case and marks, repeated words."""


def official_normalise(text: str) -> str:
    """Lower, then drop the characters of string.punctuation, then articles, then white space: in this order."""
    lowered = text.lower()
    without = "".join(character for character in lowered if character not in set(string.punctuation))
    articles = re.sub(re.compile(r"\b(a|an|the)\b", re.UNICODE), " ", without)
    return " ".join(articles.split())


def official_f1(said: str, right: str, version: Version) -> float:
    prediction, truth = official_normalise(said).split(), official_normalise(right).split()
    common = Counter(prediction) & Counter(truth)
    same = sum(common.values())
    if version == "v2.0" and (len(truth) == 0 or len(prediction) == 0):
        return int(truth == prediction)
    if same == 0:
        return 0
    precision = 1.0 * same / len(prediction)
    recall = 1.0 * same / len(truth)
    return (2 * precision * recall) / (precision + recall)


@pytest.mark.parametrize("version", ["v1.1", "v2.0"])
@pytest.mark.parametrize("said", AWKWARD)
def test_awkward_pairs_score_as_the_definition_says(said: str, version: Version):
    for right in AWKWARD:
        assert normalised(right) == official_normalise(right)
        assert exact_match(said, right) == int(official_normalise(said) == official_normalise(right))
        assert f1(said, right, version) == official_f1(said, right, version)


@given(st.text(alphabet="a the.'X-é 1", max_size=20), st.text(alphabet="a the.'X-é 1", max_size=20))
def test_any_pair_scores_as_the_definition_says(said: str, right: str):
    for version in ("v1.1", "v2.0"):
        assert f1(said, right, version) == official_f1(said, right, version)


@pytest.mark.parametrize(
    ("said", "right", "exact", "partly"),
    [
        ("the U.S. army", "US Army!", 1, 1.0),
        ("théâtre", "theatre", 0, 0.0),
        ("an-the-a", "anthea", 1, 1.0),
        ("x x y", "x y y", 0, 2 / 3),
        ("in the 10th century", "10th century", 0, 0.8),
        ("end\u2019s", "ends", 0, 0.0),
    ],
)
def test_scores_by_hand(said: str, right: str, exact: float, partly: float):
    assert exact_match(said, right) == exact
    assert f1(said, right, "v2.0") == pytest.approx(partly)


def test_the_versions_differ_where_nothing_is_left():
    assert [f1("the", "a", version) for version in ("v1.1", "v2.0")] == [0, 1]
    assert [f1("x", "the", version) for version in ("v1.1", "v2.0")] == [0, 0]
    assert exact_match("the", "a") == 1
    assert right_answers(("the", "x"), "v2.0") == ("x",)
    assert right_answers(("the", "x"), "v1.1") == ("the", "x")
    assert right_answers(("the", "..."), "v2.0") == right_answers((), "v2.0") == ("",)


def test_the_best_of_several_answers_counts_and_no_answer_is_right_only_where_there_is_none():
    scored = score(["10th century", "", "x", ""], [("the 9th", "in the 10th century"), (), (), ("x",)], "v2.0")
    assert scored.exact.tolist() == [0, 1, 0, 0]
    assert scored.f1.tolist() == pytest.approx([0.8, 1, 0, 0])
    assert scored.answered.tolist() == [True, False, False, True]
    assert measure(scored) == pytest.approx({
        "exact_match": 0.25, "f1": 0.45, "answered_exact_match": 0, "answered_f1": 0.4, "unanswered_f1": 0.5,
    })  # fmt: skip


def test_version_one_has_no_kinds_of_questions():
    scored = score(["x", "y"], [("x",), ("x y",)], "v1.1")
    assert measure(scored) == pytest.approx({"exact_match": 0.5, "f1": 5 / 6})


@pytest.mark.parametrize(
    ("said", "answers"), [([], []), (["x"], []), (["x"], [()])], ids=["none", "unequal", "no answer"]
)
def test_what_cannot_be_scored(said: list[str], answers: list[tuple[str, ...]]):
    with pytest.raises(ValueError, match=r"need as many|only v2"):
        score(said, answers, "v1.1")


def measure(scored: Scored) -> dict[str, float]:
    return measure_sums(columns(scored), ANSWER_METRICS)


def bootstrap(scored: Scored, seed: int = 0) -> dict[str, Interval]:
    values, draws = measure(scored), drawn(scored, seed)
    return {name: found for name in values if (found := of_share(values[name], draws[name], design(scored)))}


def design(scored: Scored) -> Design:
    return Design(clusters([""] * len(scored.f1)), columns(scored)[:, [2, 4]].mean(axis=0))


def drawn(scored: Scored, seed: int) -> dict[str, np.ndarray]:
    return draw_sums(columns(scored), ANSWER_METRICS, ADDED, design(scored), 1000, seed)


def some(size: int = 300, seed: int = 0) -> Scored:
    generator = np.random.default_rng(seed)
    exact = (generator.random(size) < 0.3).astype(float)
    return Scored(exact, np.maximum(exact, generator.random(size) * 0.6), generator.random(size) < 0.5)


def test_intervals_hold_the_values_and_shrink_with_the_questions():
    small, large = bootstrap(some(50)), bootstrap(some(5000))
    for name, value in measure(some(50)).items():
        assert small[name].low <= small[name].value == value <= small[name].high
        assert small[name].high - small[name].low > 4 * (large[name].high - large[name].low)
    assert bootstrap(some(), seed=1) == bootstrap(some(), seed=1) != bootstrap(some(), seed=2)


def test_an_interval_covers_the_normal_one():
    scored = some(2000)
    found, width = bootstrap(scored)["f1"], 1.96 * scored.f1.std() / np.sqrt(2000)
    assert (found.low, found.high) == pytest.approx((scored.f1.mean() - width, scored.f1.mean() + width), abs=0.003)


def test_a_paired_difference_is_sharper_than_two_intervals():
    first = some()
    better = Scored(first.exact, np.minimum(first.f1 + 0.05, 1), first.answered)
    one, other = (drawn(each, 0)["f1"] for each in (better, first))
    assert (one - other).min() > 0
    assert (one - other).std() < one.std() / 3


def test_the_threshold_is_the_best_of_all():
    generator = np.random.default_rng(0)
    for _ in range(50):
        scored, margins = some(30, int(generator.integers(1e6))), generator.normal(size=30).round(1)
        best = best_threshold(margins, scored)

        def reached(threshold: float, scored: Scored = scored, margins: np.ndarray = margins) -> float:
            return float(np.where(margins > threshold, ~scored.answered, scored.f1).mean())

        tried = [reached(each) for each in np.linspace(margins.min() - 2, margins.max() + 2, 999)]
        assert reached(best) == pytest.approx(max(tried))


def test_equally_good_thresholds_give_the_one_nearest_to_zero():
    scored = Scored(np.ones(2), np.ones(2), np.array([True, False]))
    assert best_threshold(np.array([-3.0, 4.0]), scored) == 0.5
    always = Scored(np.ones(2), np.ones(2), np.array([True, True]))
    assert best_threshold(np.array([-3.0, -2.0]), always) == -1.0
