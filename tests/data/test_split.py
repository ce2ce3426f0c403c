import random
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tlpipe.config import ConfigError
from tlpipe.data.base import Sample
from tlpipe.data.image_folder import ImageFolder
from tlpipe.data.spec import Data, SplitShares
from tlpipe.data.split import assign, check_splits

Pairs = list[tuple[int, int]]


def data(limit: int | None = None, **shares: Any) -> Data:
    return Data(source=ImageFolder(path="."), split=SplitShares(**{"folds": None, **shares}), limit_per_class=limit)


def split(samples: list[Sample], spec: Data, copies: Pairs = []) -> dict[str, str]:  # noqa: B006
    splits = assign(samples, range(len(samples)), copies, spec).splits
    return {samples[index].id: split for index, split in splits.items()}


def many(**classes: int) -> list[Sample]:
    return [Sample(f"{label}/{number:03}", label) for label, size in classes.items() for number in range(size)]


def counts(samples: list[Sample], splits: dict[str, str]) -> Counter[tuple[str, str]]:
    return Counter((splits[sample.id], sample.label) for sample in samples if sample.id in splits)


def within(found: int, of: int, share: float) -> bool:
    """Whether a count is within four standard deviations of a binomial's."""
    return abs(found - share * of) <= 4 * (of * share * (1 - share)) ** 0.5


@pytest.mark.parametrize("seed", range(5))
def test_shares_hold_in_every_class_as_draws_do(seed: int):
    samples = many(cat=2000, dog=500, emu=5)
    found = counts(samples, split(samples, data(test=0.2, validation=0.25, seed=seed)))
    for label, size in (("cat", 2000), ("dog", 500)):
        assert within(found["test", label], size, 0.2)
        assert within(found["validation", label], size, 0.2)
    assert all(found[name, "emu"] for name in ("train", "validation", "test"))
    assert found.total() == 2505


@pytest.mark.parametrize("folds", [None, 5])
def test_as_the_data_grow_nobody_moves_from_test_or_validation_to_train(folds: int | None):
    """Five times half as much again, with groups and copies; folds stay as they are, too."""
    generator, spec = random.Random(0), data(test=0.2, validation=None if folds else 0.2, folds=folds)
    samples, links, before = list[Sample](), Pairs(), dict[str, str]()
    for size in (300, 450, 675, 1012, 1518):
        for number in range(len(samples), size):
            group = f"g{generator.randrange(size // 3)}" if number % 3 == 0 else None
            if number % 11 == 10:
                links.append((number - generator.randrange(1, 9), number))
            samples.append(Sample(f"{number:05}", "abc"[number % 3], None, group))
        links = [pair for pair in links if not any(samples[index].group for index in pair)]
        assigned = assign(samples, range(len(samples)), links, spec)
        now = {samples[index].id: name for index, name in assigned.splits.items()}
        now |= {samples[index].id: f"fold {fold}" for index, fold in assigned.folds.items()}
        apart = {samples[index].id for pair in links for index in pair}
        moved = {name for name, where in before.items() if now[name] != where and name not in apart}
        assert not moved
        for name, where in before.items():
            assert where not in ("test", "validation") or now[name] not in ("train", *map("fold {}".format, range(9)))
        assert within(sum(where == "test" for where in now.values()), size, 0.22)
        before = now


def test_a_group_is_held_out_by_its_name_whatever_is_in_it():
    samples = [Sample(f"{number}", "ab"[number % 2], None, f"g{number // 50}") for number in range(20_000)]
    shares = [sum(where == "test" for where in split(samples, data(seed=seed)).values()) / 20_000 for seed in range(3)]
    assert all(within(round(share * 400), 400, 0.2) for share in shares)


def test_large_clusters_of_copies_are_not_held_out_more_often():
    samples = many(a=10_000, b=10_000)
    links = [(number, number + 1) for number in range(len(samples) - 1) if (number + 1) % 40]
    test = sum(where == "test" for where in split(samples, data(), links).values())
    assert within(test // 40, 500, 0.2)


def test_three_samples_a_class_are_enough():
    samples = many(a=3, b=3)
    assert set(counts(samples, split(samples, data())).values()) == {1}


def test_seeds_differ_and_repeat():
    samples = many(a=30, b=30)
    assert split(samples, data(seed=1)) == split(samples, data(seed=1)) != split(samples, data(seed=2))


@given(st.integers(0, 10_000), st.lists(st.tuples(st.integers(0, 29), st.integers(0, 29)), max_size=8))
def test_the_order_of_files_does_not_matter(seed: int, links: Pairs):
    samples = many(a=18, b=12)
    shuffled = random.Random(seed).sample(samples, len(samples))
    moved = [(shuffled.index(samples[first]), shuffled.index(samples[second])) for first, second in links]
    assert split(samples, data(limit=10), links) == split(shuffled, data(limit=10), moved)


@given(
    st.lists(st.integers(0, 12), min_size=40, max_size=40), st.lists(st.tuples(st.integers(0, 39), st.integers(0, 39)))
)
def test_groups_and_copies_stay_on_one_side(groups: list[int], links: Pairs):
    samples = [Sample(f"{n:02}", "ab"[n % 2], None, f"g{group}" if group else None) for n, group in enumerate(groups)]
    found = split(samples, data(), links)
    for first, second in links:
        assert found[samples[first].id] == found[samples[second].id]
    for group in set(groups) - {0}:
        assert len({found[sample.id] for sample in samples if sample.group == f"g{group}"}) == 1


def test_a_class_in_few_large_groups_gets_one_in_each_split():
    samples = [Sample(f"{label}{n}", label, None, f"{label}{n // 20}") for label in "ab" for n in range(60)]
    assert set(counts(samples, split(samples, data())).values()) == {20}


def test_given_splits_stay_and_only_the_missing_one_is_made():
    samples = [Sample(f"{label}{n}", label, "test" if n < 3 else "train") for label in "ab" for n in range(23)]
    found = split(samples, data(test=None, validation=0.2))
    assert all((found[sample.id] == "test") == (sample.split == "test") for sample in samples)
    assert counts(samples, found)["validation", "a"] == 4


def test_the_limit_leaves_the_test_split_untouched_and_nests():
    samples = many(a=100, b=8)
    full, ten, five = (split(samples, data(limit=limit)) for limit in (None, 10, 5))
    tests = [{name for name, where in found.items() if where == "test"} for found in (full, ten, five)]
    assert tests[0] == tests[1] == tests[2]
    assert five.keys() < ten.keys() < full.keys()
    found = counts(samples, five)
    for label in "ab":
        assert found["train", label] + found["validation", label] == 5
        assert found["validation", label] >= 1


def test_the_limit_on_a_given_validation_split_keeps_its_ratio():
    samples = [Sample(f"{n:03}", "a", "validation" if n < 30 else "test" if n < 40 else "train") for n in range(100)]
    found = counts(samples, split(samples, data(limit=12, test=None, validation=None)))
    assert found == {("train", "a"): 8, ("validation", "a"): 4, ("test", "a"): 10}


@pytest.mark.parametrize(
    ("given_splits", "shares", "message"),
    [
        (["train", "test"], {}, "already gives a test split.* set data.split.test to null"),
        (["train"], {"test": None}, "gives no test split .it gives train.*; set the share"),
        ([None], {"validation": None}, "gives no validation split .it gives nothing"),
        (["test"], {"test": None}, "no train split, only test"),
    ],
)
def test_shares_that_cannot_be(given_splits: list[Any], shares: dict[str, Any], message: str):
    samples = [Sample(f"{split}", "a", split) for split in given_splits]
    with pytest.raises(ConfigError, match=message):
        check_splits(samples, SplitShares(**{"folds": None, **shares}))


def test_a_group_in_two_given_splits_is_refused():
    samples = [Sample("1", "a", "train", "p1"), Sample("2", "a", "test", "p1"), Sample("3", "a", "test", "p2")]
    with pytest.raises(ConfigError, match=r"1 groups are in more than one split: p1 \(test, train\)"):
        check_splits(samples, SplitShares(test=None))
