"""Seeded splits: stratified by class, with groups and copies on one side, independent of the order of files."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from tlpipe.config import ConfigError
from tlpipe.data.base import Sample, listing
from tlpipe.data.duplicates import components
from tlpipe.data.packed import Split
from tlpipe.data.spec import CROSS_FITTED, Data, SplitShares


@dataclass(frozen=True)
class Assignment:
    """The split of every sample that is used, by index."""

    splits: dict[int, Split]
    unused: list[int]
    """Indices of what `limit_per_class` left out, ascending."""
    folds: dict[int, int] = field(default_factory=dict)
    """Fold of every labelled sample, all of which are of the split `train` then; empty = a single validation split."""
    refit: bool = False
    """Whether what ships is trained on all labelled samples."""


def check_splits(samples: Sequence[Sample], shares: SplitShares) -> None:
    """Raise ConfigError when the source's splits and the shares do not fit together, or a group is in two splits."""
    given = {sample.split for sample in samples if sample.split is not None}
    if "validation" in given and isinstance(shares.folds, int):
        raise ConfigError(
            f"data.split.folds: the source already gives a validation split, on which everything is chosen, so "
            f"{shares.folds} folds would have no effect; set data.split.folds to auto or null, or name no validation "
            "split in data.source.splits"
        )
    needed = {"validation": shares.folds is None, "test": True}
    for name, share in (("validation", shares.validation), ("test", shares.test)):
        if name in given and share is not None:
            raise ConfigError(
                f"data.split.{name}: the source already gives a {name} split, so the share {share} would have no "
                f"effect; set data.split.{name} to null"
            )
        if name not in given and share is None and needed[name]:
            raise ConfigError(
                f"data.split.{name}: the source gives no {name} split (it gives {listing(sorted(given))}); "
                "set the share to split off, such as 0.2"
            )
    if given and "train" not in given:
        raise ConfigError(f"data.source: there is no train split, only {listing(sorted(given))}; name its folder")
    _check_groups(samples)


def _check_groups(samples: Sequence[Sample]) -> None:
    where: dict[str, set[str]] = defaultdict(set)
    for sample in samples:
        if sample.group is not None and sample.split is not None:
            where[sample.group].add(sample.split)
    crossing = [f"{group} ({', '.join(sorted(splits))})" for group, splits in sorted(where.items()) if len(splits) > 1]
    if crossing:
        raise ConfigError(
            f"data.source.group_column: {len(crossing)} groups are in more than one split: {listing(crossing)}; "
            "a group must be in one split only, so correct the split column, or set split_column to null"
        )


def assign(
    samples: Sequence[Sample], kept: Collection[int], copies: Iterable[tuple[int, int]], data: Data
) -> Assignment:
    """The split, and the fold if there are folds, of every sample that is used.

    Args:
        samples: All samples; those with a split keep it, but for what is split off train.
        kept: Indices of the samples that were not rejected.
        copies: Pairs of indices that must be on one side.
        data: The shares, the seed and the limit.

    Raises:
        ConfigError: too many labelled samples for `folds: auto`, and no share for a single validation split.
    """
    shares = data.split
    splits: dict[int, Split] = {index: samples[index].split or "train" for index in sorted(kept)}
    units = components(splits, [*copies, *_same_group(samples, splits)])
    given = "validation" in splits.values()
    if shares.test is not None:
        pool = _within(units, {index for index, split in splits.items() if split == "train"})
        splits |= dict.fromkeys(hold_out(samples, pool, shares.test, f"{shares.seed} test"), "test")
    unused = _beyond(samples, splits, data.limit_per_class, f"{shares.seed} limit")
    used = {index: split for index, split in splits.items() if index not in unused}
    if given:
        return Assignment(used, sorted(unused), refit=shares.refit is True)
    labelled = {index for index, split in used.items() if split == "train"}
    pool, folds = _within(units, labelled), shares.count_folds(len(labelled))
    if folds:
        return Assignment(used, sorted(unused), deal(samples, pool, folds, f"{shares.seed} folds"), refit=True)
    if shares.validation is None:
        raise ConfigError(
            f"data.split.validation: null beside folds: auto, which makes folds of up to {CROSS_FITTED:,} labelled "
            f"samples; there are {len(labelled):,}: set data.split.validation to a share such as 0.2, or "
            "data.split.folds to a number"
        )
    held = hold_out(samples, pool, shares.validation, f"{shares.seed} validation")
    used |= dict.fromkeys(held, "validation")
    return Assignment(used, sorted(unused), refit=shares.refit is not False)


def deal(samples: Sequence[Sample], units: Sequence[Sequence[int]], folds: int, salt: str) -> dict[int, int]:
    """Fold of each index: whole `units` in an order drawn by `salt`, each to the fold that lacks its classes most.

    The largest units come first, while there is still room to even them out; of equal folds the smaller, then a drawn
    one, so that what is left over of small classes does not all come to the first fold.
    """
    ranked = [(min(_rank(samples[index], salt) for index in unit), unit) for unit in units]
    ordered = sorted(ranked, key=lambda item: (-len(item[1]), item[0]))
    held: list[Counter[str]] = [Counter() for _ in range(folds)]
    dealt: dict[int, int] = {}
    for rank, unit in ordered:
        content = Counter(samples[index].label for index in unit)
        first = int.from_bytes(rank[:4], "big") % folds
        chosen = min(
            ((first + shift) % folds for shift in range(folds)),
            key=lambda fold: (sum(held[fold][label] * more for label, more in content.items()), held[fold].total()),
        )
        held[chosen].update(content)
        dealt |= dict.fromkeys(unit, chosen)
    return dealt


def hold_out(samples: Sequence[Sample], units: Sequence[Sequence[int]], share: float, salt: str) -> set[int]:
    """Indices of whole `units` that hold about `share` of each class, and at least one sample where that is possible.

    Units come in an order drawn by `salt`; each one is taken if that brings the counts nearer to the shares.
    """
    ordered = sorted(units, key=lambda unit: min(_rank(samples[index], salt) for index in unit))
    contents = [Counter(samples[index].label for index in unit) for unit in ordered]
    total = Counter(samples[index].label for unit in units for index in unit)
    held: Counter[str] = Counter()
    taken: set[int] = set()
    for number, content in enumerate(contents):
        # The change in the sum of squared differences between what is held and what should be.
        if sum(more * (2 * (held[label] - share * total[label]) + more) for label, more in content.items()) < 0:
            held.update(content)
            taken.add(number)
    for label in sorted(total):
        spare = [
            number
            for number, content in enumerate(contents)
            if number not in taken and label in content and all(total[c] > held[c] + content[c] for c in content)
        ]
        if not held[label] and spare:
            smallest = min(spare, key=lambda number: (contents[number].total(), number))
            held.update(contents[smallest])
            taken.add(smallest)
    return {index for number in taken for index in ordered[number]}


def _rank(sample: Sample, salt: str) -> bytes:
    """A place in a drawn order that depends on the sample alone, not on which others there are."""
    return hashlib.sha256(f"{salt} {sample.id}".encode()).digest()


def _same_group(samples: Sequence[Sample], indices: Iterable[int]) -> list[tuple[int, int]]:
    first: dict[str, int] = {}
    grouped = [(index, samples[index].group) for index in indices]
    return [(first.setdefault(group, index), index) for index, group in grouped if group is not None]


def _within(units: Iterable[Iterable[int]], allowed: Collection[int]) -> list[list[int]]:
    inside = ([index for index in unit if index in allowed] for unit in units)
    return [unit for unit in inside if unit]


def _beyond(samples: Sequence[Sample], splits: Mapping[int, Split], limit: int | None, salt: str) -> set[int]:
    """Indices in train and validation beyond `limit` a class; the ratio of the two stays about what it is."""
    if limit is None:
        return set()
    classes: dict[str, dict[str, list[int]]] = defaultdict(lambda: {"train": [], "validation": []})
    for index in sorted(splits, key=lambda index: _rank(samples[index], salt)):
        if splits[index] != "test":
            classes[samples[index].label][splits[index]].append(index)
    beyond: set[int] = set()
    for pools in classes.values():
        train, validation = pools["train"], pools["validation"]
        quota = round(limit * len(validation) / (len(train) + len(validation)))
        quota = min(max(quota, bool(validation), limit - len(train)), limit - 1, len(validation))
        beyond |= {*validation[quota:], *train[limit - quota :]}
    return beyond
