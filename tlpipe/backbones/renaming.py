"""Other names for the same tensors: rules that rename them, or a pairing by order that has to be asked for."""

import re
from collections.abc import Mapping
from typing import Literal

from torch import Tensor, nn

from tlpipe.backbones.weights import State, listed
from tlpipe.config import ConfigError

Rename = Literal["by_order"] | dict[str, str]
COUNTER = "num_batches_tracked"
"""BatchNorm's counters: old files have none, and nothing reads them."""
EXAMPLES = 3
"""Pairs of names that a message shows."""


def rename_state(state: State, model: nn.Module, heads: set[str], rename: Rename, source: str) -> tuple[State, str]:
    """`state` under the names that `rename` gives, and a note on what was renamed.

    Args:
        state: Tensors by the file's names, in the file's order.
        model: What they are for.
        heads: Prefixes of the names of the model's classifier, whose shapes may differ.
        rename: Regular expressions and what replaces their matches, applied to every name one after the other; or
            by_order: first to first, second to second.
        source: The file, for messages.

    Raises:
        ConfigError: A rule matches nothing, two tensors would get one name, or order and shapes do not agree.
    """
    if rename == "by_order":
        pairs = pairs_by_order(state, model, heads)
        if pairs is None:
            raise ConfigError(
                f"backbone.rename: by_order, but {source} and {type(model).__name__} do not agree one to one in the "
                f"order, shapes and last names (weight, bias, …) of their tensors: {_first_difference(state, model)}; "
                "write rules {pattern: replacement}, or name another architecture"
            )
        return {pairs[name]: value for name, value in state.items() if name in pairs}, _note(pairs, "by their order")
    names = {name: name for name in state}
    for pattern, replacement in rename.items():
        after = {name: re.sub(pattern, replacement, now) for name, now in names.items()}
        if after == names:
            raise ConfigError(
                f"backbone.rename: the pattern {pattern!r} changes no name of {source}, which has "
                f"{listed(list(names.values()))}; correct it, or remove it"
            )
        names = after
    _refuse_collisions(names, source)
    changed = {name: now for name, now in names.items() if name != now}
    return {names[name]: value for name, value in state.items()}, _note(changed, f"by {len(rename)} rules")


def check_rules(rename: Rename | None) -> Rename | None:
    """`rename` itself; raises ValueError where a pattern or its replacement is none."""
    for pattern, replacement in rename.items() if isinstance(rename, dict) else ():
        try:
            re.sub(pattern, replacement, "")
            re.compile(pattern)
        except (re.error, IndexError) as error:
            raise ValueError(f"{pattern!r}: {replacement!r} is no rule of Python's re.sub: {error}") from None
    return rename


def pairs_by_order(state: State, model: nn.Module, heads: set[str]) -> dict[str, str] | None:
    """The model's name of each of the file's; None unless order, shapes and last names agree one to one.

    The classifier may have another shape, or be missing from the file's end.
    """
    given, own = _ordered(state), _ordered(model.state_dict())
    head = tuple(heads)
    if len(given) != len(own):
        own = {name: value for name, value in own.items() if not name.startswith(head)}
    if len(given) != len(own):
        return None
    for (name, value), (mine, tensor) in zip(given.items(), own.items(), strict=True):
        same = value.shape == tensor.shape or (mine.startswith(head) and value.ndim == tensor.ndim)
        if not same or _last(name) != _last(mine):
            return None
    return dict(zip(given, own, strict=True))


def offer(state: State, model: nn.Module, heads: set[str], ordered: bool) -> str:
    """What a refusal adds where the tensors only seem to have other names; `ordered`: whether the file keeps one."""
    pairs = pairs_by_order(state, model, heads) if ordered else None
    if not pairs or all(name == mine for name, mine in pairs.items()):
        return ""
    return (
        f" Order, shapes and last names of its {len(pairs)} tensors agree one to one with the model's "
        f"({_examples(pairs)}): if it is the same network under other names, set backbone.rename to by_order."
    )


def _ordered(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value for name, value in state.items() if _last(name) != COUNTER}


def _last(name: str) -> str:
    return name.rpartition(".")[2]


def _note(pairs: Mapping[str, str], how: str) -> str:
    return f"renamed {len(pairs)} tensors {how}: {_examples(pairs)}"


def _examples(pairs: Mapping[str, str]) -> str:
    shown = [f"{name} -> {mine}" for name, mine in pairs.items() if name != mine][:EXAMPLES]
    return ", ".join(shown) + (", …" if len(pairs) > len(shown) else "")


def _first_difference(state: State, model: nn.Module) -> str:
    given, own = list(_ordered(state).items()), list(_ordered(model.state_dict()).items())
    for (name, value), (mine, tensor) in zip(given, own, strict=False):
        if value.shape != tensor.shape or _last(name) != _last(mine):
            return f"{name} {tuple(value.shape)} beside {mine} {tuple(tensor.shape)}"
    return f"{len(given)} tensors in the file, {len(own)} in the model"


def _refuse_collisions(names: Mapping[str, str], source: str) -> None:
    taken: dict[str, str] = {}
    for name, now in names.items():
        if now in taken:
            raise ConfigError(f"backbone.rename: {taken[now]} and {name} of {source} would both be called {now}")
        taken[now] = name
