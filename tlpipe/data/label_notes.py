"""What is odd about the names of classes, though it may be meant: said in the report, and not refused."""

import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Sequence

from tlpipe.data.base import listing
from tlpipe.wording import shown

JOINTS = (",", ";", "|")
"""What people join several labels with."""
MANY = 20
"""Classes that are all numbers: more than so many are quantities rather than names."""


def label_notes(classes: Sequence[str]) -> list[str]:
    """A sentence for each group of classes that differ in spelling alone, for joined labels and for quantities."""
    return [*_alike(classes), *_joined(classes), *quantities(classes)]


def _alike(classes: Sequence[str]) -> Iterator[str]:
    groups: dict[str, list[str]] = defaultdict(list)
    for name in classes:
        groups[_folded(name)].append(name)
    for names in groups.values():
        if len(names) > 1:
            spelled = ", ".join(_escaped(name) for name in names)
            yield f"the classes {spelled} differ in spelling alone; if they are one class, write them alike"


def _folded(name: str) -> str:
    """What is left of a name without case, composition of accents, invisible characters and doubled spaces."""
    plain = "".join(each for each in unicodedata.normalize("NFKC", name) if unicodedata.category(each) != "Cf")
    return " ".join(unicodedata.normalize("NFKC", plain.casefold()).split())


def _escaped(name: str) -> str:
    """A name with its accents and invisible characters spelled out, where they are what it differs in."""
    return shown(name) if name.isascii() else f"{shown(name)} ({ascii(name)[1:-1]})"


def _joined(classes: Sequence[str]) -> Iterator[str]:
    for joint in JOINTS:
        parts = {name: [part.strip() for part in name.split(joint)] for name in classes}
        owners: dict[str, set[str]] = defaultdict(set)
        for name, words in parts.items():
            for word in words:
                owners[word].add(name)
        several = [
            name
            for name, words in parts.items()
            if len(words) > 1 and all(words) and any(len(owners[word]) > 1 for word in words)
        ]
        if several:
            yield (
                f"{len(several)} of the classes look like labels joined with {joint!r} ({listing(several, 5)}); "
                "each combination is learnt as a class of its own: if a sample has several labels, keep one of them"
            )


def quantities(classes: Sequence[str]) -> Iterator[str]:
    """Whether the classes are numbers that nobody would use as names: with fractions, or more of them than MANY."""
    if len(classes) < 2 or not all(map(_is_number, classes)):
        return
    if len(classes) > MANY or any("." in name.rstrip("0").rstrip(".") for name in classes):
        yield (
            f"all {len(classes)} classes are numbers ({listing(list(classes), 5)}); if they measure something, this is "
            "a regression, which tlpipe does not do: bin them into a few classes"
        )


def _is_number(name: str) -> bool:
    try:
        float(name)
    except ValueError:
        return False
    return True
