"""JSON schemas in tests."""

from typing import Any


def resolved(document: Any, node: Any) -> Any:
    """The schema that a node of a document is, or refers to."""
    for key in node["$ref"].removeprefix("#/").split("/") if "$ref" in node else ():
        document = document[key]
    return document if "$ref" in node else node
