"""Import closure of a module: every file of this package that its result can depend on.

A static reachability analysis, from name to name: a function that nobody calls brings nothing in. Plug-ins of a kind
that the project does not use are left out: a member of a union of specs, or what stands in a table under the name of
another kind. Imports inside functions count; those for type checkers do not. Nothing is imported to find this out.
"""

from collections.abc import Iterator, Set
from functools import cache
from pathlib import Path

from tlpipe.code.names import PACKAGE, ROOT, Module, Use, file_of, files_of, parsed

PARAMS = PACKAGE / "params.py"
"""Reads the whole of params.yaml, so it has every plug-in below it."""
SHOWS_ONLY = (
    "tlpipe/tracking/",
    "tlpipe/progress.py",
    "tlpipe/plan_table.py",
    "tlpipe/wording.py",
    "tlpipe/__init__.py",
    "tlpipe/stages/__init__.py",
    "tlpipe/stages/runner.py",
    "tlpipe/endings.py",
    "tlpipe/code/",
)
"""What can change how a stage looks or ends, or where its figures are also sent, but not what it writes."""
READ_BY_NEIGHBOURS = (".j2", ".css")
"""Files that the modules of their folder read, but for those of tasks."""
OWN = (".json", ".html.j2")
"""Files that the module of their own name reads."""
TASKS = PACKAGE / "tasks"


@cache
def kinds_used(kinds: frozenset[str]) -> frozenset[str]:
    """All kinds of plug-ins that a project uses: those of its params, and those of the specs that they bring in."""
    used = kinds
    while True:
        more = used | _Walk(used).reach(PARAMS, None).kinds
        if more == used:
            return used
        used = more


def closure(start: Path, kinds: Set[str], symbol: str = "main") -> tuple[set[Path], set[str]]:
    """Files of the package that a function of the module `start` needs, and the other packages that they import.

    `kinds`: what the project uses, from `kinds_used`. Modules that cannot change a result are left out.
    """
    walk = _Walk(kinds).reach(start, symbol)
    files = walk.files | set(_read_beside(walk.files))
    return {path for path in files if not _shows_only(path)}, walk.others


class _Walk:
    """Everything that is reached from where it begins, in a project that uses these kinds."""

    def __init__(self, kinds: Set[str]) -> None:
        self._used, self._seen = kinds, set[tuple[Path, str | None]]()
        self.files, self.others, self.kinds = set[Path](), set[str](), set[str]()

    def reach(self, path: Path, symbol: str | None) -> "_Walk":
        """Follow all that a symbol of a file uses, or all that the file uses; "" is what runs when it is imported."""
        queue = [(path, symbol)]
        while queue:
            at = queue.pop()
            if at in self._seen:
                continue
            self._seen.add(at)
            self.files.add(at[0])
            if not _shows_only(at[0]):
                queue += self._next(*at)
        return self

    def _next(self, path: Path, symbol: str | None) -> Iterator[tuple[Path, str | None]]:
        module = parsed(path)
        yield path, ""
        if symbol and (symbol in module.symbols or symbol in module.imports):
            self.kinds |= module.kinds.get(symbol, frozenset())
            uses = module.symbols.get(symbol, {Use(symbol)})
        elif symbol == "":
            uses = module.loose
        else:
            uses = set[Use]()
            yield from ((path, each) for each in module.symbols)
        for use in uses:
            if use.kinds is None or not use.kinds.isdisjoint(self._used):
                yield from self._follow(path, module, use.name)

    def _follow(self, path: Path, module: Module, name: str) -> Iterator[tuple[Path, str | None]]:
        if name in module.symbols:
            yield path, name
        for source, taken in module.imports.get(name, ()):
            files = files_of(source, taken)
            if not files:
                self.others.add(source.split(".")[0])
                continue
            yield from ((file, "") for file in files[:-1])
            yield files[-1], None if taken is None or file_of(f"{source}.{taken}") else taken


def _read_beside(modules: set[Path]) -> Iterator[Path]:
    for folder in {path.parent for path in modules if not _shows_only(path)}:
        if not folder.is_relative_to(TASKS):
            yield from (path for path in folder.iterdir() if path.suffix in READ_BY_NEIGHBOURS)
    yield from (file for path in modules for suffix in OWN if (file := path.with_suffix(suffix)).is_file())


def relative(path: Path) -> str:
    """`tlpipe/train/trainer/loop.py`, the same wherever the package is installed."""
    return path.relative_to(ROOT).as_posix()


@cache
def _shows_only(path: Path) -> bool:
    return relative(path).startswith(SHOWS_ONLY)
