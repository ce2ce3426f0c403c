"""State dicts: read safely, laid over a model exactly or refused by name, and hashed."""

import hashlib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn

from tlpipe.config import ConfigError

State = dict[str, Tensor]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
"""Of a file's bytes, in hexadecimal digits."""
WRAPPERS = ("state_dict", "model_state_dict", "model", "net")
"""Keys under which training scripts commonly keep the state dict."""
PREFIXES = ("module.", "_orig_mod.", "model.", "backbone.", "encoder.", "net.")
"""What DataParallel, torch.compile and training scripts put in front of every name."""
SHOWN = 8
"""Names in a message before the rest is only counted."""
SHOWN_CHARACTERS = 200
"""Of what a library says is wrong with a file."""
DEEPEST = 8
"""Mappings around a state dict."""


class Loaded(NamedTuple):
    """What became of a state dict: classifier tensors left out, and how its names were changed to fit."""

    skipped: list[str]
    notes: list[str]


def read_state(path: Path) -> tuple[State, list[str]]:
    """The tensors of a .pth, .pt or .safetensors file by name, and what was unwrapped to reach them.

    Pickles are read with `weights_only=True`: no code in them runs. Raises ConfigError when the file is missing,
    unreadable, unsafe, or holds anything but tensors.
    """
    if not path.is_file():
        raise ConfigError(f"weights file {str(path)!r} does not exist; paths are relative to {Path.cwd()}")
    content: Any = _read_safetensors(path) if path.suffix == ".safetensors" else _read_pickle(path)
    notes: list[str] = []
    while isinstance(content, Mapping) and (key := _wrapper(content)) is not None:
        if len(notes) == DEEPEST:
            raise ConfigError(f"{path} holds a state dict inside of more than {DEEPEST} others, or inside of itself")
        notes.append(f"unwrapped {key!r}")
        content = content[key]
    if not isinstance(content, Mapping) or not content:
        raise ConfigError(f"{path} holds {type(content).__name__}, not a state dict: save `model.state_dict()`")
    others = [str(name) for name, value in content.items() if not isinstance(value, Tensor)]
    if others:
        raise ConfigError(
            f"{path} is not a state dict: {listed(others)} are not tensors; save `model.state_dict()` alone, "
            f"or under one of {', '.join(WRAPPERS)}"
        )
    odd = [str(name) for name, value in content.items() if value.layout is not torch.strided or value.is_meta]
    if odd:
        raise ConfigError(f"{path} holds tensors that are sparse or without values ({listed(odd)}): save dense ones")
    return {str(name): value for name, value in content.items()}, notes


def require_numbers(module: nn.Module, source: str) -> None:
    """Raise ConfigError when a weight is not finite, or a buffer not a number: nothing can be learnt then."""
    weights = {name: value.isfinite().all() for name, value in module.named_parameters() if value.is_floating_point()}
    # attention masks are buffers, and hold minus infinity by right
    buffers = {name: ~value.isnan().any() for name, value in module.named_buffers() if value.is_floating_point()}
    bad = [name for name, fine in {**weights, **buffers}.items() if not fine]
    if bad:
        raise ConfigError(
            f"{source}: {len(bad)} tensors hold values that are no finite numbers ({listed(bad)}); the training that "
            "made them diverged, or the file is damaged: take an earlier checkpoint"
        )


def _wrapper(content: Mapping[Any, Any]) -> str | None:
    return next((key for key in WRAPPERS if isinstance(content.get(key), Mapping)), None)


def _read_safetensors(path: Path) -> State:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, ValueError, KeyError) as error:
        raise ConfigError(f"{path} is not a readable safetensors file: {_first_line(error)}") from None


def _read_pickle(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, MemoryError):
        raise
    except Exception as error:  # a broken or hostile pickle can raise nearly anything
        raise ConfigError(
            f"{path} could not be read as a state dict with weights_only=True ({_reason(error)}); "
            "whole pickled modules are refused because loading them runs their code: save `model.state_dict()`"
        ) from None


def _reason(error: Exception) -> str:
    """What is wrong with a pickle, without torch's advice to load it unsafely."""
    named = re.search(r"GLOBAL ([\w.]+)|Unsupported (?:global|class) (?:GLOBAL )?([\w.]+)", str(error))
    if named:
        return f"it holds {next(filter(None, named.groups()))}, which is more than tensors"
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    return line if (line := _first_line(error)) and "weights_only" not in line else type(error).__name__


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0][:SHOWN_CHARACTERS]


def load_backbone(model: nn.Module, heads: set[str], state: State, source: str, hint: str = "") -> Loaded:
    """Copy `state` into `model`, all but the classifier: the names that start with one of `heads`.

    Names may lack or carry one common prefix. BatchNorm's batch counters may be absent (old files have none, and
    nothing here reads them). Raises ConfigError that names every missing, unexpected and wrongly shaped tensor, and
    ends with `hint`.
    """
    own = {name: value for name, value in model.state_dict().items() if not _of_head(name, heads)}
    state, notes = _align(state, model, set(own))
    skipped = sorted(name for name in state if _of_head(name, heads))
    rest = {name: value for name, value in state.items() if not _of_head(name, heads)}
    wrong = {name for name in rest.keys() & own if rest[name].shape != own[name].shape}
    odd = {name for name in rest.keys() & own if own[name].is_floating_point() and not rest[name].is_floating_point()}
    # The model renames what its older versions saved (DenseNet, ViT); only its own load knows that.
    fitting = {name: value for name, value in rest.items() if name not in wrong | odd}
    result = model.load_state_dict(fitting, strict=False)
    absent = [name for name in result.missing_keys if name in own.keys() - wrong - odd]
    missing = [name for name in absent if not name.endswith("num_batches_tracked")]
    shapes = [f"{name} (file {tuple(rest[name].shape)}, model {tuple(own[name].shape)})" for name in sorted(wrong)]
    types = [f"{name} (file {_type(rest[name])}, model {_type(own[name])})" for name in sorted(odd - wrong)]
    _refuse(source, type(model).__name__, missing, list(result.unexpected_keys), shapes, types, hint=hint)
    return Loaded(skipped, notes if skipped else [*notes, "no classifier in the file"])


def head_prefixes(model: nn.Module, encoder: nn.Module) -> set[str]:
    """The shortest prefixes, dot included, that cover every tensor of `model` outside `encoder` and none inside.

    A file may hold another classifier than the model's (`fc.1.weight` for `fc.weight`): the prefix covers it too.
    """
    shared = {id(value) for value in encoder.state_dict(keep_vars=True).values()}
    state = model.state_dict(keep_vars=True)
    inside = [name for name, value in state.items() if id(value) in shared]
    prefixes = set()
    for name in state.keys() - set(inside):
        parts = name.split(".")
        options = [".".join(parts[:length]) + "." for length in range(1, len(parts))]
        prefixes.add(next((option for option in options if not any(n.startswith(option) for n in inside)), name))
    return prefixes


def _of_head(name: str, heads: set[str]) -> bool:
    return name.startswith(tuple(heads))


def _align(state: State, model: nn.Module, names: set[str]) -> tuple[State, list[str]]:
    """`state` with one common prefix removed or added where that is what it takes to meet the model's names."""
    notes: list[str] = []
    while not names & state.keys() and (prefix := _common_prefix(state)) is not None:
        notes.append(f"removed prefix {prefix!r}")
        state = {name.removeprefix(prefix): value for name, value in state.items()}
    if not names & state.keys():
        for child, _ in model.named_children():
            if any(f"{child}.{name}" in names for name in state):
                notes.append(f"added prefix '{child}.'")
                return {f"{child}.{name}": value for name, value in state.items()}, notes
    return state, notes


def _common_prefix(state: Iterable[str]) -> str | None:
    return next((prefix for prefix in PREFIXES if all(name.startswith(prefix) for name in state)), None)


def _type(value: Tensor) -> str:
    return str(value.dtype).removeprefix("torch.")


def _refuse(source: str, model: str, *problems_of: list[str], hint: str) -> None:
    titles = ("missing", "unexpected", "wrong shape", "wrong type")
    problems = [f"{title}: {listed(names)}" for title, names in zip(titles, problems_of, strict=True) if names]
    if problems:
        way = hint or " Is it another architecture?"
        raise ConfigError(f"{source} does not fit {model}; " + "; ".join(problems) + f".{way}")


def listed(names: list[str]) -> str:
    """The first names, and how many more there are."""
    more = len(names) - SHOWN
    names = [name if len(name) <= SHOWN_CHARACTERS else f"{name[:SHOWN_CHARACTERS]}..." for name in names[:SHOWN]]
    return ", ".join(names) + (f" and {more} more" if more > 0 else "")


def fingerprint(module: nn.Module) -> str:
    """SHA-256 of a module's tensors: names, types, shapes and bytes."""
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def file_hash(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def check_hash(path: Path, expected: str | None, key: str) -> str:
    """SHA-256 of a file. Raises ConfigError where params expect another one."""
    digest = file_hash(path)
    if expected not in (None, digest):
        raise ConfigError(
            f"{key}: {path} has the hash {digest}, not {expected}: it is another file than the one that was meant; "
            f"restore that one, or set {key} to null to take this one"
        )
    return digest
