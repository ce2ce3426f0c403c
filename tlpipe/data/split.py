"""Seeded splits by a threshold on each sample's hash, with groups and copies on one side.

A sample's split does not depend on which others there are, so it stays where it is as the data grow.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from tlpipe.config import ConfigError
from tlpipe.data.base import Sample, listing
from tlpipe.data.duplicates import components
from tlpipe.data.packed import Split
from tlpipe.data.spec import CROSS_FITTED, Data, SplitShares

FEW_COPIES = 3
"""Names in a unit up to which it is held out as soon as one of them is; larger clusters need a group to be safe."""


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
        splits |= dict.fromkeys(hold_out(samples, pool, shares.test, f"{shares.seed} test", 1 if given else 2), "test")
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
    held = hold_out(samples, pool, shares.validation, f"{shares.seed} validation", 1)
    used |= dict.fromkeys(held, "validation")
    return Assignment(used, sorted(unused), refit=shares.refit is not False)


def deal(samples: Sequence[Sample], units: Sequence[Sequence[int]], folds: int, salt: str) -> dict[int, int]:
    """Fold of each index: whole `units`, each by its own value (see `unit_value`), whatever others there are.

    Only where all of a class would be in one fold, or a fold would be empty, the unit with the largest value moves.
    """
    values = [unit_value(samples, unit, salt) for unit in units]
    fold = [int(value * folds) for value in values]
    for label, members in sorted(_by_label(samples, units).items()):
        if len(members) > 1 and len({fold[number] for number in members}) == 1:
            last = max(members, key=lambda number: (values[number], label))
            fold[last] = (fold[last] + 1) % folds
    for empty in sorted(set(range(folds)) - set(fold)):
        sizes = Counter(fold)
        fullest = max(sizes, key=lambda number: (sizes[number], -number), default=empty)
        if sizes[fullest] > 1:
            inside = [number for number in range(len(units)) if fold[number] == fullest]
            fold[max(inside, key=values.__getitem__)] = empty
    return {index: fold[number] for number, unit in enumerate(units) for index in unit}


def hold_out(samples: Sequence[Sample], units: Sequence[Sequence[int]], share: float, salt: str, left: int) -> set[int]:
    """Indices of whole `units` whose value is below `share`: who was held out stays so however the data grow.

    Only small classes are helped: one without any gets the unit with the smallest value, and one of which fewer than
    `left` units would remain gives back those with the largest, as long as it keeps one.
    """
    values = [unit_value(samples, unit, salt) for unit in units]
    taken = {number for number, value in enumerate(values) if value < share}
    labels = _by_label(samples, units)
    for _, members in sorted(labels.items()):
        held = sorted(members & taken, key=values.__getitem__)
        excess = min(len(held) - 1, left - len(members - taken))
        taken -= set(held[len(held) - excess :]) if excess > 0 else set()
    for _, members in sorted(labels.items()):
        spare = [number for number in members if _leaves_some(number, units, samples, labels, taken)]
        if not members & taken and spare:
            taken.add(min(spare, key=values.__getitem__))
    return {index for number in taken for index in units[number]}


def unit_value(samples: Sequence[Sample], unit: Sequence[int], salt: str) -> float:
    """A number in [0, 1), drawn by `salt` from the unit's groups and its ungrouped samples' ids alone.

    It is the smallest of their draws, so it can only fall when a copy joins, and what is held out stays held out. Of
    more than FEW_COPIES that would hold out large clusters too often, and it is made uniform by their number again.
    """
    names = {
        f"group {sample.group}" if sample.group is not None else sample.id for sample in map(samples.__getitem__, unit)
    }
    lowest = min(int.from_bytes(_draw(name, salt)[:8], "big") for name in names) / 2**64
    return lowest if len(names) <= FEW_COPIES else min(1 - (1 - lowest) ** len(names), 1 - 2**-53)


def _by_label(samples: Sequence[Sample], units: Sequence[Sequence[int]]) -> dict[str, set[int]]:
    """The numbers of the units that hold each label."""
    found: dict[str, set[int]] = defaultdict(set)
    for number, unit in enumerate(units):
        for index in unit:
            found[samples[index].label].add(number)
    return found


def _leaves_some(
    number: int,
    units: Sequence[Sequence[int]],
    samples: Sequence[Sample],
    labels: Mapping[str, set[int]],
    taken: set[int],
) -> bool:
    """Whether each class in a unit has another one that is not taken."""
    return all(labels[samples[index].label] - taken - {number} for index in units[number])


def _rank(sample: Sample, salt: str) -> bytes:
    """A place in a drawn order that depends on the sample alone, not on which others there are."""
    return _draw(sample.id, salt)


def _draw(name: str, salt: str) -> bytes:
    return hashlib.sha256(f"{salt} {name}".encode()).digest()


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
