"""Seeded splits: stratified by class, with groups and copies on one side, independent of the order of files."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence

from tlpipe.config import ConfigError
from tlpipe.data.base import Sample, listing
from tlpipe.data.duplicates import components
from tlpipe.data.packed import Split
from tlpipe.data.spec import Data, SplitShares


def check_splits(samples: Sequence[Sample], shares: SplitShares) -> None:
    """Raise ConfigError when the source's splits and the shares do not fit together, or a group is in two splits."""
    given = {sample.split for sample in samples if sample.split is not None}
    for name, share in (("validation", shares.validation), ("test", shares.test)):
        if name in given and share is not None:
            raise ConfigError(
                f"data.split.{name}: the source already gives a {name} split, so the share {share} would have no "
                f"effect; set data.split.{name} to null"
            )
        if name not in given and share is None:
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
) -> tuple[dict[int, Split], list[int]]:
    """(split of each sample that is used, indices left aside by `limit_per_class`).

    Args:
        samples: All samples; those with a split keep it, but for what is split off train.
        kept: Indices of the samples that were not rejected.
        copies: Pairs of indices that must be on one side.
        data: The shares, the seed and the limit.
    """
    shares = data.split
    splits: dict[int, Split] = {index: samples[index].split or "train" for index in sorted(kept)}
    units = components(splits, [*copies, *_same_group(samples, splits)])
    if shares.test is not None:
        pool = _within(units, {index for index, split in splits.items() if split == "train"})
        splits |= dict.fromkeys(hold_out(samples, pool, shares.test, f"{shares.seed} test"), "test")
    aside = _beyond(samples, splits, data.limit_per_class, f"{shares.seed} limit")
    used = {index: split for index, split in splits.items() if index not in aside}
    if shares.validation is not None:
        pool = _within(units, {index for index, split in used.items() if split == "train"})
        held = hold_out(samples, pool, shares.validation, f"{shares.seed} validation")
        used |= dict.fromkeys(held, "validation")
    return used, sorted(aside)


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
