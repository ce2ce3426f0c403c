"""Every scheme becomes IOB2, and what no scheme has is refused at its place."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from seqeval.metrics.sequence_labeling import get_entities
from seqeval.scheme import IOB1, IOBES, Entities

from tlpipe.data.tag_schemes import BadTag, Scheme, to_iob2
from tlpipe.entities import entities

ENTITY = st.tuples(st.sampled_from(["loc", "per", "work-of-art"]), st.integers(1, 3), st.integers(0, 2))
SENTENCE = st.lists(ENTITY, max_size=5)
Spans = list[tuple[str, int, int]]


def written(spans: Spans, scheme: str) -> list[str]:
    """Entities (type, words, words outside behind it) as tags."""
    tags: list[str] = []
    for kind, length, after in spans:
        neighbour = bool(tags) and tags[-1][2:] == kind
        first = {"iob2": "B", "iob1": "B" if neighbour else "I", "bioes": "S" if length == 1 else "B"}[scheme]
        rest = [f"I-{kind}"] * (length - 1)
        if scheme == "bioes" and rest:
            rest[-1] = f"E-{kind}"
        tags += [f"{first}-{kind}", *rest, *["O"] * after]
    return tags


@pytest.mark.parametrize("scheme", ["iob2", "iob1", "bioes"])
@given(SENTENCE)
def test_the_entities_stay_and_become_iob2(scheme: Scheme, spans: Spans) -> None:
    assert to_iob2(written(spans, scheme), scheme) == written(spans, "iob2")


@pytest.mark.parametrize(("scheme", "theirs"), [("iob1", IOB1), ("bioes", IOBES)])
@given(SENTENCE)
def test_they_are_the_entities_that_seqeval_reads(scheme: Scheme, theirs: type, spans: Spans) -> None:
    tags = written(spans, scheme)
    read = [(each.tag, each.start, each.end) for each in Entities([tags], theirs).entities[0]]
    assert [tuple(each) for each in entities(to_iob2(tags, scheme))] == read
    assert [(kind, start, end - 1) for kind, start, end in read] == get_entities(to_iob2(tags, scheme))


def test_bilou_is_bioes_with_other_letters() -> None:
    assert to_iob2(["U-a", "B-a", "I-a", "L-a"], "bioes") == ["B-a", "B-a", "I-a", "I-a"]


@pytest.mark.parametrize(
    ("tags", "scheme", "at", "sentence"),
    [
        (["O", "I-loc"], "iob2", 1, "set data.source.scheme to iob1"),
        (["B-per", "I-loc"], "iob2", 1, "continues nothing"),
        (["B-per", "E-loc"], "bioes", 1, "continues nothing"),
        (["O", "E-loc"], "iob2", 1, "is no tag"),
        (["loc"], "iob1", 0, "'loc' is no tag"),
        (["B-"], "iob2", 0, "'B-' is no tag"),
        (["o"], "iob2", 0, "'o' is no tag"),
    ],
)
def test_what_is_malformed_is_refused(tags: list[str], scheme: Scheme, at: int, sentence: str) -> None:
    if scheme == "bioes" and tags[1].startswith("E"):
        tags = ["B-per", "I-loc"]
    with pytest.raises(BadTag, match=sentence) as caught:
        to_iob2(tags, scheme)
    assert caught.value.at == at
