"""What was found out about the data: the report, and the errors that only counting can find."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from statistics import median
from typing import Any

from tlpipe.config import ConfigError
from tlpipe.data.base import Sample, listing
from tlpipe.data.duplicates import Rejected, components
from tlpipe.data.label_notes import quantities
from tlpipe.data.packed import SPLITS, Split
from tlpipe.data.spec import Data
from tlpipe.data.split import Assignment
from tlpipe.wording import shown

SHOWN = 20
"""Classes that a message lists."""
Counts = Mapping[str, Mapping[str, int]]


@dataclass(frozen=True)
class Findings:
    """What became of every sample; numbers are indices of `samples`."""

    samples: Sequence[Sample]
    classes: Sequence[str]
    rejected: Mapping[int, Rejected]
    exact: Sequence[Sequence[int]]
    """Groups with equal pixels."""
    near: Mapping[tuple[int, int], float]
    """Similarity of near duplicates."""
    assigned: Assignment

    @property
    def splits(self) -> Mapping[int, Split]:
        """Split of what is used."""
        return self.assigned.splits

    @cached_property
    def counts(self) -> dict[str, dict[str, int]]:
        """{split: {class: number of samples}}, zeros included; without validation where there are folds."""
        splits = [split for split in SPLITS if split != "validation" or not self.assigned.folds]
        counts: dict[str, dict[str, int]] = {split: dict.fromkeys(self.classes, 0) for split in splits}
        for index, split in self.splits.items():
            counts[split][self.samples[index].label] += 1
        return counts

    @cached_property
    def fold_counts(self) -> list[dict[str, int]]:
        """{class: number of samples} of every fold, zeros included."""
        folds = self.assigned.folds
        counts = [dict.fromkeys(self.classes, 0) for _ in range(max(folds.values(), default=-1) + 1)]
        for index, fold in folds.items():
            counts[fold][self.samples[index].label] += 1
        return counts

    def report(self) -> dict[str, Any]:
        """The content of reports/data.json; depends on the data alone, so that equal data gives equal bytes.

        `left_aside` counts what `limit_per_class` did not take, a class; `imbalance` is the largest class of the train
        split over the smallest.
        """
        train = self.counts["train"].values()
        return {
            "found": len(self.samples),
            "used": len(self.splits),
            "classes": list(self.classes),
            "counts": self.counts,
            "folds": [sum(counts.values()) for counts in self.fold_counts],
            "refit": self.assigned.refit,
            "imbalance": round(max(train) / max(min(train), 1), 3),
            "left_aside": dict(sorted(Counter(self.samples[index].label for index in self.assigned.unused).items())),
            "rejected": [asdict(self.rejected[index]) for index in sorted(self.rejected)],
            "duplicates": {"exact": [self._members(group) for group in self.exact], "near": list(self._clusters())},
        }

    def _members(self, group: Sequence[int]) -> dict[str, Any]:
        return {
            "ids": [self.samples[index].id for index in group],
            "labels": sorted({self.samples[index].label for index in group}),
            "splits": [self.splits.get(index) for index in group],
        }

    def _clusters(self) -> Iterator[dict[str, Any]]:
        """Near duplicates that hang together, with the range of the similarities; split null = not used."""
        clusters = components({index for pair in self.near for index in pair}, self.near)
        number = {index: cluster for cluster, group in enumerate(clusters) for index in group}
        values: dict[int, list[float]] = defaultdict(list)
        for (first, _), value in self.near.items():
            values[number[first]].append(round(value, 3))
        for cluster, group in enumerate(clusters):
            yield {**self._members(group), "similarity": [min(values[cluster]), max(values[cluster])]}


def image_sizes(sizes: Collection[tuple[int, int]]) -> dict[str, Any]:
    """Smallest, median and largest of the (width, height) of raw images, pixels."""
    sides = {"width": [width for width, _ in sizes], "height": [height for _, height in sizes]}
    return {
        "images": {side: {"min": min(n), "median": median(n), "max": max(n)} for side, n in sides.items()},
    }


def check_classes(counts: Counts, rejected: Iterable[Rejected], data: Data) -> None:
    """Raise ConfigError when a class has no sample in one of the splits."""
    if data.source.stratified:
        counts = {split: {"samples": sum(classes.values())} for split, classes in counts.items()}
    empty = sorted({label for classes in counts.values() for label, number in classes.items() if not number})
    if not empty:
        return
    reasons = Counter((finding.label, finding.reason.split(":")[0]) for finding in rejected)
    what = "a split would be empty"
    if not data.source.stratified:
        what = f"{len(empty)} {'class' if len(empty) == 1 else 'classes'} would be empty in a split"
    lines = [f"data: {what}"]
    for label in empty[:SHOWN]:
        lost = ", ".join(f"{number} {reason}" for (owner, reason), number in sorted(reasons.items()) if owner == label)
        have = ", ".join(f"{split} {classes[label]}" for split, classes in counts.items())
        lines.append(f"    {label}: {have}" + (f"; rejected: {lost}" if lost else ""))
    if len(empty) > SHOWN:
        lines.append(f"    ... and {len(empty) - SHOWN} more")
    lines += [f"    note:    {note}" for note in quantities(list(counts["train"]))]
    lines.append(f"    do:      {_way_out(data)}")
    raise ConfigError("\n".join(lines))


def check_folds(folds: Sequence[Mapping[str, int]], data: Data) -> None:
    """Raise ConfigError when a fold is empty, or all samples of a class are in one fold: no model would learn it."""
    empty = [str(number) for number, counts in enumerate(folds, 1) if not sum(counts.values())]
    if empty:
        raise ConfigError(
            f"data.split.folds: {len(folds)} folds, of which {listing(empty)} would be empty, because there are too "
            "few samples or too few groups and copies; set fewer folds"
        )
    classes = [] if data.source.stratified or not folds else list(folds[0])
    whole = [label for label in classes if sum(counts[label] > 0 for counts in folds) == 1]
    if whole:
        raise ConfigError(
            f"data.split.folds: all samples of {listing(whole)} are in one fold, because there is only one of them or "
            "they are one group or copies of one another; add samples of these classes, or remove the classes"
        )


def check_groups(samples: Sequence[Sample], data: Data) -> None:
    """Raise ConfigError when there are fewer groups than splits to make of them: a group is in one split only."""
    own = {sample.group for sample in samples if sample.split in (None, "train")}
    shares = {"validation": data.split.validation, "test": data.split.test}
    made = ["train", *(name for name, share in shares.items() if share is not None)]
    if None in own or len(own) >= len(made):
        return
    groups = ", ".join(sorted(shown(group) for group in own)) or "none"
    raise ConfigError(
        f"data.source: all samples of which the splits {', '.join(made)} are made are in {len(own)} "
        f"group{'s' if len(own) != 1 else ''} ({groups}), and a group is never cut: {data.source.grouping}"
    )


def _way_out(data: Data) -> str:
    ways = ["add samples of these classes", "remove the classes from the source"]
    if data.split.test is not None or data.split.validation is not None:
        ways.append("change the shares in data.split")
    if data.limit_per_class is not None:
        ways.append(f"raise data.limit_per_class (now {data.limit_per_class})")
    if data.checks.near_duplicates is not None:
        ways.append("set data.checks.near_duplicates to null if what it rejects or binds together are no copies")
    return ", or ".join(ways)
