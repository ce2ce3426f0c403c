from hypothesis import given
from hypothesis import strategies as st

from tlpipe.data.base import Sample
from tlpipe.data.duplicates import components, exact_copies, reject_exact, reject_near


def reasons(rejected: dict[int, object]) -> dict[int, str]:
    return {index: finding.reason for index, finding in rejected.items()}  # type: ignore[attr-defined]


def test_copies_are_grouped_by_pixels():
    assert exact_copies({4: b"x", 1: b"y", 2: b"x", 7: b"z", 9: b"y"}) == [[1, 9], [2, 4]]


def test_the_copy_in_the_most_protected_split_stays():
    samples = [Sample("a", "cat", "train"), Sample("b", "cat", "test"), Sample("c", "cat", "validation")]
    assert reasons(reject_exact(samples, [[0, 1, 2]])) == {0: "duplicate_of:b", 2: "duplicate_of:b"}


def test_within_a_split_the_first_stays():
    samples = [Sample("a", "cat"), Sample("b", "cat")]
    assert reasons(reject_exact(samples, [[0, 1]])) == {1: "duplicate_of:a"}


def test_conflicting_labels_lose_all_copies():
    samples = [Sample("a", "cat", "test"), Sample("b", "dog", "train"), Sample("c", "cat", "train")]
    assert set(reasons(reject_exact(samples, [[0, 1, 2]])).values()) == {"conflicting_labels"}


def test_near_copies_across_given_splits():
    samples = [Sample(name, "cat", split) for name, split in zip("abcd", ("train", "train", "test", None), strict=True)]
    rejected = reject_near(samples, {(0, 1): 0.99, (0, 2): 0.95, (1, 3): 0.99})
    assert reasons(rejected) == {0: "near_duplicate_of:c"}
    assert "0.950" in rejected[0].detail


def test_a_rejected_copy_takes_nothing_with_it():
    samples = [Sample("a", "cat", "train"), Sample("b", "cat", "validation"), Sample("c", "cat", "test")]
    assert reasons(reject_near(samples, {(0, 1): 0.95, (1, 2): 0.95})) == {1: "near_duplicate_of:c"}


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), max_size=40))
def test_components_are_a_partition_in_which_links_stay_inside(links: list[tuple[int, int]]):
    members = range(15)
    groups = components(members, links)
    assert sorted(index for group in groups for index in group) == list(members)
    owner = {index: number for number, group in enumerate(groups) for index in group}
    assert all(owner[a] == owner[b] for a, b in links if a < 15 and b < 15)
    assert len(groups) >= len(members) - len(links)


def test_components_by_hand():
    assert components([0, 1, 2, 3, 4], [(0, 3), (3, 4), (1, 9)]) == [[0, 3, 4], [1], [2]]


def test_copies_that_are_labelled_otherwise_contradict_each_other():
    samples = [Sample(name, "answered") for name in "abcd"]
    rejected = reject_exact(samples, [[0, 1], [2, 3]], lambda index: ("Rome", "Paris", "Oslo", "Oslo")[index])
    assert reasons(rejected) == {0: "conflicting_labels", 1: "conflicting_labels", 3: "duplicate_of:c"}
    assert "labelled Paris and Rome" in rejected[0].detail
