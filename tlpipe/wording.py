"""What a JSON Schema allows, in plain words: the vocabulary of the messages about params.yaml. Pure functions."""

import difflib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Schema = dict[str, Any]
NOUNS = {
    "integer": ("a whole number", "whole numbers"),
    "number": ("a number", "numbers"),
    "string": ("text", "texts"),
    "boolean": ("true or false", "true or false values"),
    "null": ("null", "nulls"),
}
SYNONYMS = {
    "gpu": "cuda", "nvidia": "cuda", "cuda:0": "cuda", "metal": "mps", "apple": "mps", "m1": "mps",
    "float32": "fp32", "32": "fp32", "full": "fp32", "bfloat16": "bf16", "mixed": "bf16", "half": "fp16",
    "float16": "fp16", "16": "fp16",
    "adam": "adamw", "momentum": "sgd", "nesterov": "sgd", "cosineannealing": "cosine", "bio": "iob2", "bilou": "bioes",
    "f1": "macro_f1", "acc": "accuracy", "tsv": "text_table", "csv": "text_table", "imagefolder": "image_folder",
    "finetune": "all_layers", "full_finetuning": "all_layers", "linearprobe": "head_only", "probe": "head_only",
}  # fmt: skip
"""What other tools call things, and what they are here: nearness of letters would mislead (`gpu` is near to `cpu`)."""
LONGEST = 80
"""Characters of a given value that a message repeats."""
LONGEST_LINE, MOST_LINES = 1000, 200
"""Of a whole message: whatever is in the data, no refusal repeats more of it."""


def nearest(word: str, options: Iterable[object]) -> list[str]:
    """The options most like `word` whatever their case; several only when they are equally near, none when none is."""
    lowered = word.lower()
    scores = {str(option): _likeness(lowered, str(option).lower()) for option in options}
    best = max(scores.values(), default=0.0)
    return [option for option, score in scores.items() if score == best] if best > 0.5 else []


def meant(word: str, options: Iterable[object]) -> list[str]:
    """The option that other tools call `word`; none where there is no such name for one of these."""
    name = SYNONYMS.get(word.lower().replace("_", "").replace("-", ""))
    return [name] if name in {str(option) for option in options} else []


def _likeness(word: str, option: str) -> float:
    # One slip of the finger is near also in a short key (`lr`), of which it leaves little.
    slip = len(option) > 1 and (sorted(word) == sorted(option) or _one_edit(word, option))
    return 1.0 if slip else difflib.SequenceMatcher(None, word, option).ratio()


def _one_edit(word: str, other: str) -> bool:
    """Whether one letter more, less or another makes one word of the other."""
    if abs(len(word) - len(other)) > 1:
        return False
    same = next((at for at, pair in enumerate(zip(word, other, strict=False)) if len(set(pair)) > 1), None)
    if same is None:
        return True
    rests = (word[same:], other[same:])
    return any(rests[0][a:] == rests[1][b:] for a, b in ((1, 1), (1, 0), (0, 1)))


def either(words: Sequence[str]) -> str:
    """`'a'`, `'a' or 'b'`."""
    return " or ".join(repr(word) for word in words)


def given(value: Any) -> str:
    """A value from YAML as a message repeats it: cut where it is long, with its type where that may be the mistake."""
    if isinstance(value, str):
        return f"{_cut(repr(value))} (text)"
    if isinstance(value, list):
        return f"{_cut(json.dumps(value, ensure_ascii=False, default=str))} (a list of {len(value)})"
    if isinstance(value, dict):
        return f"{_cut(json.dumps(value, ensure_ascii=False, default=str))} (a mapping)"
    return "null (nothing)" if value is None else _cut(json.dumps(value, default=str))


def shown(value: object) -> str:
    """Any value as a message repeats it: Python's spelling, cut where it is long."""
    # what is long is cut before it is spelled out: it may be gigabytes
    short = value[: LONGEST + 1] if isinstance(value, str | bytes | list | tuple) else value
    return _cut(repr(short))


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."


def bounded(message: str) -> str:
    """A message that a terminal can show: without control characters, half surrogates and endless lines."""
    lines = message.split("\n", MOST_LINES)
    if len(lines) > MOST_LINES:
        lines[MOST_LINES] = f"... and {lines[MOST_LINES].count(chr(10)) + 1:,} more lines"
    return "\n".join(map(_bounded_line, lines))


def _bounded_line(line: str) -> str:
    if len(line) > LONGEST_LINE:
        line = f"{line[: LONGEST_LINE // 2]} ... {line[-LONGEST_LINE // 2 :]}"
    # C0 and C1 controls move the cursor or end the line, the others reorder what is read
    return "".join(each if each == "\t" or each.isprintable() else ascii(each)[1:-1] for each in line)


def resolve(root: Schema, node: Schema) -> Schema:
    """`node` with its reference into `root` followed; what the referring field says of itself wins."""
    while "$ref" in node:
        target = root["$defs"][node["$ref"].rsplit("/", 1)[-1]]
        node = target | {key: value for key, value in node.items() if key != "$ref"}
    return node


def child(node: Schema, part: str | int) -> Schema:
    """The schema of one key or position of a mapping or list; empty where the schema says nothing about it."""
    if isinstance(part, int):
        fixed = node.get("prefixItems", [])
        return dict(fixed[part] if part < len(fixed) else node.get("items", {}))
    if part in node.get("properties", {}):
        return dict(node["properties"][part])
    others = [*node.get("patternProperties", {}).values(), node.get("additionalProperties")]
    return next((dict(other) for other in others if isinstance(other, dict)), {})


def walk(root: Schema, location: Sequence[str | int]) -> tuple[list[str | int], Schema]:
    """(path in the data, schema there) of a pydantic location, which also names the branches of unions."""
    path: list[str | int] = []
    node = resolve(root, root)
    rest = list(location)
    while rest:
        part = rest.pop(0)
        node = _without_null(root, node)
        if "discriminator" in node and part in node["discriminator"]["mapping"]:
            node = resolve(root, {"$ref": node["discriminator"]["mapping"][part]})
        elif "anyOf" in node:
            node = _branch(root, node, rest)
        elif part != "[key]":
            path.append(part)
            node = resolve(root, child(node, part))
    return path, node


def _without_null(root: Schema, node: Schema) -> Schema:
    others = [option for option in node.get("anyOf", []) if option.get("type") != "null"]
    return resolve(root, others[0]) if len(others) == 1 else node


def _branch(root: Schema, node: Schema, rest: Sequence[str | int]) -> Schema:
    """The branch of a union that the rest of a location can be in; the union itself where the location ends."""
    if not rest:
        return node
    options = [resolve(root, option) for option in node["anyOf"]]
    return next((option for option in options if child(option, rest[0])), node)


def alternatives(root: Schema, node: Schema) -> list[Any]:
    """The fixed values (of Literals) that a schema allows, also inside a union."""
    node = resolve(root, node)
    if "const" in node:
        return [node["const"]]
    if "enum" in node:
        return list(node["enum"])
    return [value for option in node.get("anyOf", []) for value in alternatives(root, option)]


def kinds(root: Schema, node: Schema) -> list[str]:
    """The kinds that a discriminated union has."""
    return list(_without_null(root, resolve(root, node)).get("discriminator", {}).get("mapping", {}))


def keys(root: Schema, node: Schema) -> list[str]:
    """The keys that a mapping may have."""
    return list(_without_null(root, resolve(root, node)).get("properties", {}))


def names(root: Schema, node: Schema) -> list[Any]:
    """The fixed names that the keys of a mapping may be."""
    return alternatives(root, _without_null(root, resolve(root, node)).get("propertyNames", {}))


def types(root: Schema, node: Schema) -> set[str]:
    """The JSON types that a schema allows."""
    node = resolve(root, node)
    inner = [types(root, option) for option in node.get("anyOf", [])]
    return set().union(*inner) | ({str(node["type"])} if "type" in node else set())


def describe(root: Schema, node: Schema) -> str:
    """What `node` allows: `a whole number from 4 to 256`, `'shorter' or 'squash'`, `a list of 3 numbers`."""
    node = resolve(root, node)
    if values := [value for value in (node.get("enum") or [node.get("const")]) if value is not None]:
        return " or ".join(str(value) if isinstance(value, str) else json.dumps(value) for value in values)
    if "discriminator" in node:
        return f"a mapping with kind: {' or '.join(kinds(root, node))}"
    if "anyOf" in node:
        return ", or ".join(describe(root, option) for option in node["anyOf"])
    if node.get("type") == "array":
        return _list(root, node)
    if node.get("type") == "object":
        keys = node.get("properties")
        return f"a mapping with the keys {', '.join(keys)}" if keys else "a mapping of names to values"
    return _scalar(node)


def _scalar(node: Schema) -> str:
    if node.get("type") == "string":
        noun = "a path" if node.get("format") == "path" else "non-empty text" if node.get("minLength") else "text"
        return f"{noun} that matches {node['pattern']}" if "pattern" in node else noun
    return NOUNS.get(node.get("type", ""), ("a value", ""))[0] + _range(node)


def _range(node: Schema) -> str:
    low, high = node.get("minimum"), node.get("maximum")
    if low is not None and high is not None:
        return f" from {_plain(low)} to {_plain(high)}"
    words = {"minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most", "exclusiveMaximum": "below"}
    limits = [f"{word} {_plain(node[key])}" for key, word in words.items() if key in node]
    step = [f"a multiple of {_plain(node['multipleOf'])}"] if "multipleOf" in node else []
    return " " + " and ".join(limits + step) if limits or step else ""


def _plain(number: float) -> str:
    return f"{number:,}".replace(",", "_") if isinstance(number, int) else f"{number:g}"


def _list(root: Schema, node: Schema) -> str:
    fixed = node.get("prefixItems", [])
    item = resolve(root, (fixed or [node.get("items", {})])[0])
    plural = NOUNS.get(item.get("type", ""), ("", "values"))[1] + _range(item)
    if item.get("type") not in NOUNS or alternatives(root, item):
        plural = f"values, each {describe(root, item)}" if item else "values"
    low, high = node.get("minItems"), node.get("maxItems")
    size = str(len(fixed)) if fixed else str(low) if low == high and low else ""
    least = f" (at least {low})" if low and not size else ""
    return " ".join(filter(None, ["a list of", size, plural])) + least


def baseline_ahead(comparison: Mapping[str, Any]) -> list[str]:
    """The sentence on a baseline that no network beats, for a comparison.json; nothing where one does."""
    ahead = comparison.get("baseline_ahead")
    if not ahead:
        return []
    value, low, high = (ahead["difference"][name] for name in ("value", "low", "high"))
    around = f" [{low:+.4f}, {high:+.4f}]" if low is not None and high is not None else ""
    return [
        f"TF-IDF is ahead: {ahead['strategy']} leads the best network, {ahead['network']}, by {value:+.4f}{around} of "
        f"{comparison['metric']} on held-out samples"
    ]
