"""docs/reference.md: every key of params.yaml with its type, default and meaning."""

import re
from collections.abc import Iterator
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from docs.tools.reference import PAGE, page, slug
from tlpipe.params import Params

TEXT = PAGE.read_text(encoding="utf-8")
PLAIN = ("kind", "library")
"""Keys that choose a table."""


def specs(kind: Any, seen: dict[type[BaseModel], None]) -> dict[type[BaseModel], None]:
    """All specs below a type, without the help of the JSON Schema."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        if kind not in seen:
            seen[kind] = None
            for field in kind.model_fields.values():
                specs(field.annotation, seen)
    else:
        for part in get_args(kind):
            specs(part, seen)
    return seen


SPECS = [spec for spec in specs(Params, {}) if spec is not Params]
FIELDS = [(spec, name) for spec in SPECS for name in spec.model_fields]


def rows() -> Iterator[list[str]]:
    for line in TEXT.splitlines():
        if line.startswith("| `"):
            yield [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def test_the_page_is_what_the_specs_say() -> None:
    assert page() == TEXT, "run: python -m docs.tools.reference"


def test_every_section_has_a_heading() -> None:
    assert [line[3:] for line in TEXT.splitlines() if line.startswith("## ")] == list(Params.model_fields)


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.__name__)
def test_every_spec_has_a_table_with_all_of_its_keys(spec: type[BaseModel]) -> None:
    tables = [set(re.findall(r"^\| `(\w+)` \|", part, re.MULTILINE)) for part in TEXT.split("| key | type |")[1:]]
    assert {field.alias or name for name, field in spec.model_fields.items()} in tables


def test_every_key_has_a_type_a_default_and_a_meaning() -> None:
    assert len(list(rows())) >= len({id(spec) for spec in SPECS})
    for key, *cells in rows():
        assert len(cells) == 3, key
        assert all(cells), key


@pytest.mark.parametrize(("spec", "name"), FIELDS, ids=lambda value: getattr(value, "__name__", value))
def test_a_field_says_what_it_is(spec: type[BaseModel], name: str) -> None:
    description = spec.model_fields[name].description or ""
    assert name in PLAIN or description, "needs a docstring"
    assert not description.startswith("Of "), "begin with the noun: Number of, Seed of, Share of"


def test_links_lead_to_headings() -> None:
    headings = {slug(line.lstrip("# ")) for line in TEXT.splitlines() if line.startswith("#")}
    links = set(re.findall(r"\]\(#([^)]+)\)", TEXT))
    assert links
    assert links <= headings
