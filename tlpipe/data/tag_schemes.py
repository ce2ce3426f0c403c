"""Tags of words as corpora write them, and their conversion to IOB2."""

import re
from collections.abc import Sequence
from typing import Literal

from tlpipe.entities import OUTSIDE

Scheme = Literal["iob2", "iob1", "bioes"]


class BadTag(ValueError):  # noqa: N818 - a finding about what was read
    """A tag that the scheme does not have at this place."""

    def __init__(self, at: int, sentence: str) -> None:
        super().__init__(sentence)
        self.at = at
        """Which of the sentence's tags."""


def to_iob2(tags: Sequence[str], scheme: Scheme) -> list[str]:
    """A sentence's tags in IOB2, in which every entity begins with `B-`.

    - `iob2` (also called BIO): nothing is changed; an `I-` that continues nothing is refused.
    - `iob1` (CoNLL-2003 as published): `B-` only stands between neighbours of one type, so the first `I-` becomes `B-`.
    - `bioes` (also BILOU: `L-` = `E-`, `U-` = `S-`): `S-` becomes `B-`, `E-` becomes `I-`.

    Raises:
        BadTag: for what the scheme does not have.
    """
    found: list[str] = []
    before = OUTSIDE
    for at, tag in enumerate(tags):
        prefix, kind = _parts(tag, at, scheme)
        goes_on = before != OUTSIDE and before[2:] == kind
        if prefix == "I" and scheme != "iob1" and not goes_on:
            raise BadTag(at, f"{tag!r} continues nothing; {_advice(scheme)}")
        if prefix == "I" and not goes_on:
            prefix = "B"
        before = f"{prefix}-{kind}" if prefix else OUTSIDE
        found.append(before)
    return found


def _advice(scheme: Scheme) -> str:
    if scheme == "bioes":
        return "correct the tags"
    return "correct it, or set data.source.scheme to iob1 if entities begin with I- in this file"


def _parts(tag: str, at: int, scheme: Scheme) -> tuple[str, str]:
    """(B or I, type), both empty outside of entities."""
    if tag == OUTSIDE:
        return "", ""
    match = re.fullmatch(r"([A-Z])-(\S+)", tag)
    letters = "BIESLU" if scheme == "bioes" else "BI"
    if match is None or match[1] not in letters:
        raise BadTag(at, f"{tag!r} is no tag; tags are O, and {', '.join(f'{letter}-type' for letter in letters)}")
    return {"S": "B", "U": "B", "E": "I", "L": "I"}.get(match[1], match[1]), match[2]
