"""Reference of params.yaml: docs/reference.md, made from the pydantic specs by `python -m docs.tools.reference`.

A heading for each section, for each kind in it and for each table of keys below it, in the order of params.yaml.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from textwrap import fill
from typing import Any

from tlpipe.cli import schema_text

PAGE = Path(__file__).resolve().parents[1] / "reference.md"
HEAD = """# params.yaml: every key

Made by `python -m docs.tools.reference` from the specs in the code; a test holds it to them. Do not edit.
`tlpipe check` refuses unknown keys, values out of range and combinations that cannot work, before anything runs.
The same as a JSON Schema, for editors: [params.schema.json](../params.schema.json).
"""
COLUMNS = "| key | type | default | meaning |\n|---|---|---|---|"
WIDTH = 118
Node = dict[str, Any]


class Reference:
    """All sections of one JSON Schema as Markdown."""

    def __init__(self, schema: Node) -> None:
        self.schema = schema
        self.pending: list[tuple[str, Node]] = []
        self.titles: dict[str, str] = {}

    def page(self) -> str:
        """The whole page."""
        parts = [HEAD]
        for name, node in self.schema["properties"].items():
            required = "" if name in self.schema["required"] else " Optional."
            parts.append(f"## {name}\n\n{_text(node)}{required}\n")
            parts += self.section(name, node)
        return "\n".join(parts)

    def section(self, name: str, node: Node) -> Iterator[str]:
        """Tables of a section of params.yaml and of all that is nested in it."""
        if shown := self.shape(name, node, top=True):
            yield f"Value: {shown.replace(', ', f',{chr(10)}')}.\n"
        while self.pending:
            title, target = self.pending.pop(0)
            if title != name:
                yield f"### {title}\n"
            if description := _text(target):
                yield f"{fill(description, WIDTH, break_long_words=False, break_on_hyphens=False)}\n"
            yield from self.table(re.sub(r"`", "", title), target)

    def table(self, where: str, node: Node) -> Iterator[str]:
        """One row for each key of an object."""
        rows = []
        for key, value in node["properties"].items():
            if key in ("kind", "library") and not value.get("description"):
                value = {**value, "description": "Chooses this table of keys."}
            base = where.partition(" of ")[0]
            cells = (f"`{key}`", self.shape(f"{base}.{key}", value), self.default(key, value, node), _text(value))
            rows.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
        yield "\n".join([COLUMNS, *rows, ""])

    def default(self, key: str, value: Node, owner: Node) -> str:
        """The default of a key as it would be written; a table of its own has its defaults there."""
        if key in owner.get("required", ()) or "default" not in value:
            return "required"
        if isinstance(value["default"], dict):
            return "its defaults"
        return f"`{json.dumps(value['default'], ensure_ascii=False)}`"

    def shape(self, where: str, node: Node, top: bool = False) -> str:
        """The type of a value; what has keys of its own is queued for a table, and linked."""
        if "$ref" in node:
            return self.link(where if top else f"`{where}`", node["$ref"], where.rpartition(".")[2], top)
        if "oneOf" in node:
            kinds = node["discriminator"]["mapping"].items()
            return "one of " + ", ".join(self.link(f"`{where}` of kind `{kind}`", ref, kind) for kind, ref in kinds)
        if "anyOf" in node:
            return " or ".join(self.shape(where, part) for part in node["anyOf"])
        if "const" in node:
            return f"`{node['const']}`"
        if "enum" in node:
            return ", ".join(f"`{value}`" for value in node["enum"])
        return self.plain(where, node)

    def plain(self, where: str, node: Node) -> str:
        """The type of a list, a mapping, a number, a text or a truth value."""
        if "prefixItems" in node:
            return f"[{', '.join(self.shape(where, part) for part in node['prefixItems'])}]"
        if "items" in node:
            return f"list of {self.shape(where, node['items'])}"
        if node.get("type") == "object":
            values = [*node.get("patternProperties", {}).values()]
            values += [value for value in [node.get("additionalProperties")] if isinstance(value, dict)]
            return f"name: {self.shape(where, values[0])}" if values else "mapping"
        names = {"string": "text", "boolean": "true or false", "null": "null", "integer": "integer", "number": "number"}
        return names[node["type"]] + _bounds(node)

    def link(self, title: str, ref: str, text: str, top: bool = False) -> str:
        """A link to the table of a definition, which is queued once; empty for a section's own, which follows."""
        if ref not in self.titles:
            self.titles[ref] = title
            self.pending.append((title, self.schema["$defs"][ref.rpartition("/")[2]]))
        return "" if top else f"[{text}](#{slug(self.titles[ref])})"


def slug(title: str) -> str:
    """Anchor of a heading, the same on the site and where Markdown is shown as it is."""
    return re.sub(r"\s+", "-", re.sub(r"[^\w\s-]", "", title).strip().lower())


def _bounds(node: Node) -> str:
    if "minimum" in node and "maximum" in node:
        return f", {node['minimum']:,} to {node['maximum']:,}"
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    parts = [f"{sign} {node[bound]:,}" for bound, sign in signs.items() if bound in node]
    return f" {', '.join(parts)}" if parts else ""


def _text(node: Node) -> str:
    return " ".join(node.get("description", "").split())


def page() -> str:
    """Content of docs/reference.md."""
    return Reference(json.loads(schema_text())).page()


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
