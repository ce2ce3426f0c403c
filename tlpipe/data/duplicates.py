"""What is done about copies: exact ones are kept once, and no copy stays on both sides of a split."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from tlpipe.data.base import Sample

PROTECTION = {"test": 2, "validation": 1, "train": 0, None: 0}
"""Of two copies, the one in the more protected split stays."""
SHOWN = 80
"""Characters of a truth that a finding shows."""


@dataclass(frozen=True)
class Rejected:
    """A sample that is kept out, and why. `reason` is for programs, `detail` for people."""

    id: str
    label: str
    split: str | None
    reason: str
    detail: str


def reject(sample: Sample, reason: str, detail: str) -> Rejected:
    """`sample`, kept out because of `reason`."""
    return Rejected(sample.id, sample.label, sample.split, reason, detail)


def exact_copies(content: Mapping[int, bytes]) -> list[list[int]]:
    """Indices with equal content, group by group, ascending; single ones are left out."""
    groups: dict[bytes, list[int]] = defaultdict(list)
    for index, value in sorted(content.items()):
        groups[value].append(index)
    return sorted(group for group in groups.values() if len(group) > 1)


def reject_exact(
    samples: Sequence[Sample], groups: Iterable[Sequence[int]], truth: Callable[[int], str] | None = None
) -> dict[int, Rejected]:
    """All of a group whose truths differ, else all but the first one in the most protected split.

    `truth` is what a sample is labelled with, such as its tags or its answer; None = its label.
    """
    truth = truth or (lambda index: samples[index].label)
    rejected: dict[int, Rejected] = {}
    for group in groups:
        truths = sorted({truth(index) for index in group})
        if len(truths) > 1:
            ids = ", ".join(samples[i].id for i in group)
            detail = f"the same content are labelled {' and '.join(map(_short, truths))}: {ids}"
            rejected |= {index: reject(samples[index], "conflicting_labels", detail) for index in group}
            continue
        stays, *others = sorted(group, key=lambda index: (-PROTECTION[samples[index].split], index))
        reason = f"duplicate_of:{samples[stays].id}"
        detail = f"the same content as {_place(samples[stays])}"
        rejected |= {index: reject(samples[index], reason, detail) for index in others}
    return rejected


def _short(truth: str) -> str:
    return truth if len(truth) <= SHOWN else f"{truth[:SHOWN]}…"


def reject_near(samples: Sequence[Sample], likeness: Mapping[tuple[int, int], float]) -> dict[int, Rejected]:
    """Of each pair of near duplicates in two of the source's own splits, the less protected one.

    A copy that is itself rejected takes nothing else with it.
    """
    copies: dict[int, list[tuple[float, int]]] = defaultdict(list)
    for (first, second), value in sorted(likeness.items()):
        low, high = sorted((first, second), key=lambda index: PROTECTION[samples[index].split])
        if PROTECTION[samples[low].split] < PROTECTION[samples[high].split]:
            copies[low].append((value, high))
    rejected: dict[int, Rejected] = {}
    for low in sorted(copies, key=lambda index: -PROTECTION[samples[index].split]):
        kept = [(value, high) for value, high in copies[low] if high not in rejected]
        if kept:
            value, high = max(kept)
            detail = f"a copy (similarity {value:.3f}) of {_place(samples[high])}"
            rejected[low] = reject(samples[low], f"near_duplicate_of:{samples[high].id}", detail)
    return rejected


def components(members: Iterable[int], links: Iterable[tuple[int, int]]) -> list[list[int]]:
    """`members` in groups that are connected by `links`, each ascending; links to others are passed over."""
    parent = {index: index for index in members}
    for first, second in links:
        if first in parent and second in parent:
            parent[_root(parent, first)] = _root(parent, second)
    groups: dict[int, list[int]] = defaultdict(list)
    for index in sorted(parent):
        groups[_root(parent, index)].append(index)
    return sorted(groups.values())


def _root(parent: dict[int, int], index: int) -> int:
    while parent[index] != index:
        parent[index] = index = parent[parent[index]]
    return index


def _place(sample: Sample) -> str:
    return f"{sample.id} in {sample.split}" if sample.split else sample.id
