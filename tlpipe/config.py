"""The base of every spec, and how params.yaml is read: strictly, and with errors that a person can act on."""

import json
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from ruamel.yaml.nodes import MappingNode, SequenceNode

from tlpipe.files import read_file
from tlpipe.wording import (
    Schema,
    alternatives,
    bounded,
    describe,
    either,
    given,
    keys,
    kinds,
    meant,
    names,
    nearest,
    types,
    walk,
)
from tlpipe.yaml_text import BadYaml, compose_yaml, load_yaml

PARAMS = Path("params.yaml")
LARGEST = 2**20
"""Bytes of a params file."""
SHOWN = 120
"""Characters of a line of YAML that a message repeats."""
T = TypeVar("T")
Location = Sequence[str | int]


class ConfigError(ValueError):
    """Something the user wrote cannot be used: the message says what was given, what is allowed, what to do.

    However much of what was given is in the message, it stays short enough to be read.
    """

    def __init__(self, message: object = "") -> None:
        super().__init__(bounded(str(message)))


class Spec(BaseModel):
    """A frozen description that also builds the thing it describes; unknown keys and wrong types are refused."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


Seed = Annotated[int, Field(ge=0, lt=2**31)]
"""Starts a generator; numpy, torch and DVC all take what fits into 31 bits."""


def members(union: Any) -> tuple[type[Spec], ...]:
    """The spec classes of `Annotated[A | B, Field(discriminator="kind")]` (or of a union of one), in order."""
    if isinstance(union, type):
        return (union,)
    return get_args(get_args(union)[0])


def read(path: Path = PARAMS) -> dict[str, Any]:
    """The mapping in a params file, as YAML 1.2 (what DVC reads: `1e-3` is a number, `no` is a word).

    Raises ConfigError, with the line, when the file is not YAML or says a key twice.
    """
    text = _text(path)
    try:
        data = load_yaml(text)
    except BadYaml as error:
        raise ConfigError(_not_yaml(path, text, error)) from None
    if not isinstance(data, dict):
        raise ConfigError(f"{path} must hold a mapping of sections, got {'nothing' if data is None else given(data)}")
    return data


def _text(path: Path) -> str:
    try:
        return read_file(path, LARGEST).decode("utf-8-sig")
    except FileNotFoundError:
        raise ConfigError(f"{path} does not exist; run from the project's folder, or name the file") from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not utf-8 (byte {error.start:,}: {error.reason}); save it as UTF-8") from None


def _not_yaml(path: Path, text: str, error: BadYaml) -> str:
    if error.line is None:
        return f"{path} is not valid YAML: {error.problem}"
    place = f"{path}, line {error.line}, column {error.column}"
    source = [line[:SHOWN] for line in text.splitlines()[error.line - 1 : error.line]]
    if error.twice is not None:
        first = f" (the first is in the mapping that begins on line {error.twice})"
        return f"{place}: the key {source[0].split(':')[0].strip()!r} appears twice{first}; keep one of the two"
    tab = "; indent with spaces, not with tabs" if any("\t" in line for line in source) else ""
    return "\n".join([f"{place}: not valid YAML: {error.problem}{tab}", *(f"    {line.strip()}" for line in source)])


def parse(data: Any, kind: Any, where: str, path: Path | None = None) -> Any:
    """`data` as the spec or union `kind`. Raises ConfigError that names every problem.

    `where` is the section's name for messages ("" for the whole file); with `path`, the file that `data` is from,
    messages give the line.
    """
    try:
        text = json.dumps(data, default=str)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{where or path}: must be made of mappings, lists, text and numbers: {error}") from None
    try:
        return TypeAdapter(kind).validate_json(text, strict=True)
    except ValidationError as error:
        raise ConfigError(explain(error, kind, where, path)) from None


def load(section: str, kind: Any, path: Path = PARAMS) -> Any:
    """One section of the params file (dotted: `finetune.all_layers`) as `kind`. Raises ConfigError."""
    data: Any = read(path)
    for part in section.split("."):
        if not isinstance(data, dict) or part not in data:
            raise ConfigError(
                f"{path} has no section {section!r}{suggest(part, data if isinstance(data, dict) else ())}"
            )
        data = data[part]
    return parse(data, kind, section, path)


def suggest(word: str, allowed: Iterable[object]) -> str:
    """`; did you mean 'x'? allowed: a, b` for a mistyped word, or an empty string when nothing is allowed."""
    options = [str(option) for option in allowed]
    if not options:
        return ""
    near = nearest(word, options)
    return (f"; did you mean {either(near)}?" if near else ";") + f" allowed: {', '.join(options)}"


def explain(error: ValidationError, kind: Any, where: str, path: Path | None = None) -> str:
    """Every problem of a section, a block each: where (and in which line), what was given, what is allowed, what to do.

    The branches of a union that all refused one value make one block.
    """
    schema = _schema(kind)
    found: dict[tuple[str | int, ...], tuple[dict[str, Any], Schema]] = {}
    for problem in error.errors(include_url=False):
        location, node = walk(schema, _ends_at_list(problem))
        found.setdefault(tuple(location), (dict(problem), node))
    blocks = [
        block(_place(where, location), *_words(problem, schema, node), line=line_of(path, where, location))
        for location, (problem, node) in found.items()
        if not any(other[: len(location)] == location for other in found if other != location)
    ]
    return "\n".join(blocks)


@cache
def _schema(kind: Any) -> Schema:
    return TypeAdapter(kind).json_schema()


def block(place: str, what: str, details: dict[str, str], line: int | None = None) -> str:
    """One problem as people read it: a line that says what is wrong where, and an indented line a detail."""
    at = f" (line {line})" if line else ""
    rows = [f"    {name + ':':9}{text}" for name, text in details.items() if text]
    return "\n".join([f"{place}{at}: {what}", *rows])


def line_of(path: Path | None, where: str, location: Location) -> int | None:
    """The line (from 1) of a place in a YAML file, or of the nearest thing around it that is there."""
    if path is None:
        return None
    node: Any = compose_yaml(_text(path))
    line = None
    for part in [*(where.split(".") if where else ()), *location]:
        if isinstance(node, MappingNode):
            pair = next(((key, value) for key, value in node.value if key.value == str(part)), None)
        elif isinstance(node, SequenceNode) and isinstance(part, int) and part < len(node.value):
            pair = (node.value[part], node.value[part])
        else:
            pair = None
        if pair is None:
            return line
        line, node = pair[0].start_mark.line + 1, pair[1]
    return line


def _ends_at_list(problem: Any) -> Location:
    """Pydantic's location, but a list that is too short is itself the place, not the position that it lacks."""
    location: Location = problem["loc"]
    return location[:-1] if problem["type"] == "missing" and isinstance(location[-1], int) else location


def _place(where: str, location: Location) -> str:
    return ".".join(str(part) for part in ([where] if where else []) + list(location)) or "the file"


def _words(problem: dict[str, Any], schema: Schema, node: Schema) -> tuple[str, dict[str, str]]:
    """(what is wrong, details) of one pydantic error."""
    kind, value, location = problem["type"], problem["input"], problem["loc"]
    if kind == "extra_forbidden":
        parent = walk(schema, location[:-1])[1]
        return _unknown(str(location[-1]), "key", keys(schema, parent), given(value))
    if kind.startswith("union_tag"):
        if kind == "union_tag_not_found":
            return "has no kind", {"given": given(value), "do": _add_kind(value, kinds(schema, node))}
        return _unknown(str(problem["ctx"]["tag"]), "kind", kinds(schema, node), "")
    meaning = {"meaning": str(node.get("description", "")).split("\n")[0]}
    if kind == "missing" and isinstance(location[-1], str):
        return "is missing", {"allowed": describe(schema, node), **meaning, "do": f"add {location[-1]}: ..."}
    if kind == "value_error":
        return str(problem["ctx"]["error"]), {"given": given(value)}
    if location and location[-1] == "[key]":
        return _bad_name(str(value), schema, walk(schema, location[:-2])[1])
    hint = {"do": _hint(value, schema, node)}
    return "cannot be used", {"given": given(value), "allowed": describe(schema, node), **meaning, **hint}


def _bad_name(word: str, schema: Schema, parent: Schema) -> tuple[str, dict[str, str]]:
    if fixed := names(schema, parent):
        return _unknown(word, "key", fixed, "")
    patterns = " or ".join(parent.get("patternProperties", {}))
    return f"{word!r} is not a name that can be used", {"allowed": f"names that match {patterns}"}


def _add_kind(value: dict[str, Any], allowed: list[str]) -> str:
    meant = [key for key in value if nearest(key, ["kind"])]
    renamed = f"rename {either(meant)} to 'kind', or " if meant else ""
    return f"{renamed}add kind: {' or '.join(allowed)}"


def _unknown(word: str, what: str, allowed: Iterable[str], value: str) -> tuple[str, dict[str, str]]:
    near = nearest(word, allowed)
    do = f"did you mean {either(near)}? " if near else ""
    do += "rename it, or remove it" if what == "key" and near else "remove it" if what == "key" else ""
    return f"unknown {what} {word!r}", {"given": value, "allowed": ", ".join(allowed) or "no keys", "do": do.strip()}


def _hint(value: Any, schema: Schema, node: Schema) -> str:
    """What to do about a value that is nearly right; empty where there is nothing to say."""
    allowed = types(schema, node)
    if isinstance(value, str):
        options = alternatives(schema, node)
        if near := meant(value, options) or nearest(value, options):
            return f"did you mean {either(near)}?"
        if allowed & {"integer", "number"} and (number := _number(value)) is not None:
            return f"write the number without quotes: {number:g}"
        if "boolean" in allowed and value.lower() in ("yes", "no", "on", "off", "true", "false"):
            return (
                f"write {'true' if value.lower() in ('yes', 'on', 'true') else 'false'} (YAML 1.2 knows no yes and no)"
            )
    if isinstance(value, float) and value.is_integer() and "integer" in allowed:
        return f"write {value:.0f}"
    return "put it into a list: [...]" if "array" in allowed and not isinstance(value, dict | list) else ""


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
