"""YAML that others wrote, checked while it is parsed: no file costs more than its length."""

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent, Event, NodeEvent, ScalarEvent
from ruamel.yaml.nodes import Node

DEEPEST, MOST_NODES = 20, 20_000
"""Levels of nesting, and values with every alias written out: a hundred times what a params file has."""


class BadYaml(ValueError):  # noqa: N818 - it reads as a finding
    """A text is no YAML, or YAML that is not read here: `problem`, in `line` (from 1; None = unknown)."""

    def __init__(
        self, problem: str, line: int | None = None, column: int | None = None, twice: int | None = None
    ) -> None:
        super().__init__(problem)
        self.problem, self.line, self.column = problem, line, column
        self.twice = twice
        """The line of the mapping that has a key twice, if that is the problem."""


def load_yaml(text: str) -> Any:
    """The value of a YAML 1.2 text in plain types. Raises BadYaml."""
    _examine(text)
    return _guarded(lambda: _construct(text))


@lru_cache(maxsize=4)
def compose_yaml(text: str) -> Node | None:
    """The nodes of a text that `load_yaml` has read, with their lines."""
    node: Node | None = YAML(typ="safe", pure=True).compose(text)
    return node


def _construct(text: str) -> Any:
    node = compose_yaml(text)
    return None if node is None else YAML(typ="safe", pure=True).constructor.construct_document(node)


def _guarded(work: Any) -> Any:
    try:
        return work()
    except BadYaml:
        raise
    except MarkedYAMLError as error:
        mark = error.problem_mark
        if mark is None:
            raise BadYaml(error.problem or str(error).splitlines()[0]) from None
        twice = error.context_mark.line + 1 if isinstance(error, DuplicateKeyError) else None
        raise BadYaml(error.problem or "", mark.line + 1, mark.column + 1, twice) from None
    except (YAMLError, ValueError) as error:
        raise BadYaml(str(error).splitlines()[0] if str(error) else type(error).__name__) from None
    except Exception as error:  # the parser's own slips on odd texts: whatever they are, the text is not read
        raise BadYaml(f"it cannot be parsed ({type(error).__name__})") from None


def _examine(text: str) -> None:
    """Raise BadYaml for tags, endless nesting and aliases that stand for too much."""
    _guarded(lambda: _walk(YAML(typ="safe", pure=True).parse(text)))


def _walk(events: Iterator[Event]) -> None:
    sizes: dict[str, int] = {}
    open_nodes: list[tuple[str | None, int]] = []
    """(anchor, nodes before it) of each collection that is not closed."""
    nodes = 0
    for event in events:
        line, column = event.start_mark.line + 1, event.start_mark.column + 1
        if isinstance(event, NodeEvent):
            nodes += _size(event, sizes, {anchor for anchor, _ in open_nodes if anchor}, line, column)
            _refuse_tag(event, line, column)
        if isinstance(event, CollectionStartEvent):
            open_nodes.append((event.anchor, nodes - 1))
        elif isinstance(event, CollectionEndEvent):
            anchor, before = open_nodes.pop()
            if anchor:
                sizes[anchor] = nodes - before
        elif isinstance(event, ScalarEvent) and event.anchor:
            sizes[event.anchor] = 1
        if len(open_nodes) > DEEPEST:
            raise BadYaml(f"nested more than {DEEPEST} levels deep", line, column)
        if nodes > MOST_NODES:
            raise BadYaml(f"more than {MOST_NODES:,} values, with all aliases written out", line, column)


def _size(event: Event, sizes: dict[str, int], unfinished: set[str], line: int, column: int) -> int:
    if not isinstance(event, AliasEvent):
        return 1
    if event.anchor in unfinished:
        raise BadYaml(f"*{event.anchor} stands inside of what it is an alias for", line, column)
    return sizes.get(event.anchor, 1)


def _refuse_tag(event: Event, line: int, column: int) -> None:
    tag = getattr(event, "tag", None)
    if tag:
        short = str(tag).replace("tag:yaml.org,2002:", "!!")
        raise BadYaml(f"the tag {short} is not read here; write the value itself", line, column)
