"""Names that a module of this package defines, uses and imports, read from its source without importing it."""

import ast
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]
ROOT = PACKAGE.parent
ALWAYS = "strategies"
"""Folder whose plug-ins are all followed: a further strategy must not rerun those that are done."""
LATE = ("import_module", "lean_import")
"""Functions that import the module whose name is their argument."""
FACET, TASKS = "facet", "tlpipe.tasks"
"""The function that imports a part of a task (`tlpipe.tasks.facet`), and where tasks are."""


@dataclass(frozen=True)
class Use:
    """A name that some code uses."""

    name: str
    kinds: frozenset[str] | None = None
    """Kinds of plug-ins that it is used for alone; None where it is used whatever the project uses."""


@dataclass
class Module:
    """What a module defines and uses, read from its source."""

    symbols: dict[str, set[Use]] = field(default_factory=dict)
    """By the name of a function, class or constant, what its code uses."""
    loose: set[Use] = field(default_factory=set)
    """What code outside of these uses."""
    imports: dict[str, set[tuple[str, str | None]]] = field(default_factory=dict)
    """By the name that is bound: the module, and what is taken from it (None = the module itself)."""
    kinds: dict[str, frozenset[str]] = field(default_factory=dict)
    """By the name of a spec: the strings of its `kind: Literal[...]`."""


@cache
def files_of(module: str, name: str | None) -> list[Path]:
    """The `__init__` files above what is imported, and its own file last; empty for what is not of this package."""
    if module.split(".")[0] != PACKAGE.name:
        return []
    dotted = f"{module}.{name}" if name is not None and file_of(f"{module}.{name}") else module
    parts, own = dotted.split("."), file_of(dotted)
    inits = [ROOT.joinpath(*parts[:depth], "__init__.py") for depth in range(1, len(parts))]
    return [*inits, own] if own else []


@cache
def file_of(module: str) -> Path | None:
    """The file of a dotted name, relative to where the package is; None where there is none."""
    path = ROOT.joinpath(*module.split("."))
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)


@cache
def all_kinds() -> frozenset[str]:
    """The kinds of all plug-ins that a project may leave unused."""
    folders = (PACKAGE / name for name in ("backbones", "data", "preprocess", "tasks"))
    specs = (_kinds_of(_tree(path)) for folder in folders for path in folder.rglob("*.py"))
    return frozenset(kind for each in specs for kinds in each.values() for kind in kinds)


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_bytes(), str(path))


def _kinds_of(tree: ast.Module) -> dict[str, frozenset[str]]:
    return {
        node.name: frozenset(
            str(part.value) for part in ast.walk(line.annotation) if isinstance(part, ast.Constant) and part.value
        )
        for node in tree.body
        if isinstance(node, ast.ClassDef)
        for line in node.body
        if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name) and line.target.id == "kind"
    }


@cache
def parsed(path: Path) -> Module:
    """What the source of a module says."""
    tree = _tree(path)
    module = Module(kinds=_kinds_of(tree))
    reader = _Reader(module, tree)
    used = set[str]()
    for node in tree.body:
        uses = reader.read(node)
        used |= {use.name for use in uses}
        names = _defined(node)
        for name in names:
            module.symbols.setdefault(name, set()).update(uses)
        if not names:
            module.loose |= uses
    if path.stem != "__init__":
        # what is imported and not used is there for what its import does; in an `__init__` it is there for others
        module.loose |= {Use(name) for name in module.imports if name not in used}
    return module


def _defined(node: ast.stmt) -> list[str]:
    """The names that a statement only defines; none where it may do more."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [node.name]
    if isinstance(node, ast.AnnAssign):
        return [node.target.id] if isinstance(node.target, ast.Name) else []
    if not isinstance(node, ast.Assign):
        return []
    targets = [part for each in node.targets for part in (each.elts if isinstance(each, ast.Tuple) else [each])]
    return [part.id for part in targets if isinstance(part, ast.Name)] if _only_names(targets) else []


def _only_names(targets: list[ast.expr]) -> bool:
    return all(isinstance(part, ast.Name) for part in targets)


class _Reader(ast.NodeVisitor):
    """Collects what statements use, and what they import into `module`."""

    def __init__(self, module: Module, tree: ast.Module) -> None:
        assigned = (node for node in tree.body if isinstance(node, ast.Assign))
        self._constants = {name: node.value for node in assigned for name in _defined(node)}
        self._module, self._uses = module, set[Use]()
        self._guard: frozenset[str] | None = None
        self._inside, self._within = 0, False

    def read(self, statement: ast.stmt) -> set[Use]:
        """The uses in a statement of a module's body."""
        self._uses, self._within = set(), not isinstance(statement, ast.Import | ast.ImportFrom)
        self.visit(statement)
        return self._uses

    def visit_Import(self, node: ast.Import) -> None:
        """`import a.b` binds `a`, and `import a.b as c` binds `c`."""
        for alias in node.names:
            self._bind(alias.asname or alias.name.split(".")[0], alias.name, None)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        """`from a import b`."""
        for alias in node.names if node.module and not node.level else ():
            self._bind(alias.asname or alias.name, str(node.module), alias.name)

    def _bind(self, name: str, module: str, taken: str | None) -> None:
        self._module.imports.setdefault(name, set()).add((module, taken))
        if self._within:
            self._uses.add(Use(name, self._guard))

    def visit_If(self, node: ast.If) -> None:
        """Nothing runs what is for type checkers."""
        if not (isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"):
            self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        """Importing by a string is importing too."""
        called = getattr(node.func, "attr", getattr(node.func, "id", ""))
        if called in LATE and node.args and (name := self._text(node.args[0])):
            self._bind(name, name, None)
        if called == FACET and len(node.args) == 2 and (name := self._text(node.args[1])):
            self._facet(*name.split(":"))
        self.generic_visit(node)

    def _facet(self, file: str, symbol: str) -> None:
        """A name of each task's file, which is used by that task alone."""
        before = self._guard
        for path in sorted(PACKAGE.glob(f"tasks/*/{file}.py")):
            kind, self._guard = path.parent.name, frozenset({path.parent.name})
            self._bind(f"{kind}/{file}:{symbol}", f"{TASKS}.{kind}.{file}", symbol)
        self._guard = before

    def _text(self, node: ast.expr) -> str | None:
        """A string, or that of a constant of the module; None where it is made in some other way."""
        value = self._constants.get(node.id) if isinstance(node, ast.Name) else node
        return value.value if isinstance(value, ast.Constant) and isinstance(value.value, str) else None

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        """Its code is no table."""
        self._inside += 1
        self.generic_visit(node)
        self._inside -= 1

    visit_AsyncFunctionDef = visit_FunctionDef  # type: ignore[assignment]  # noqa: N815

    def visit_Dict(self, node: ast.Dict) -> None:
        """In a table, a constant whose keys are all kinds, what stands under a kind is used by it alone."""
        kinds = [key.value if isinstance(key, ast.Constant) else None for key in node.keys]
        if self._inside or not set(kinds) <= all_kinds():
            self.generic_visit(node)
            return
        for kind, value in zip(kinds, node.values, strict=True):
            self._visit_for(value, frozenset({str(kind)}))

    def visit_BinOp(self, node: ast.BinOp) -> None:
        """A union of specs: a member is used by its own kind alone."""
        for side in (node.left, node.right):
            self._visit_for(side, self._kinds(side) if isinstance(node.op, ast.BitOr) else None)

    def visit_Name(self, node: ast.Name) -> None:
        """A use."""
        self._uses.add(Use(node.id, self._guard))

    def _visit_for(self, node: ast.expr, kinds: frozenset[str] | None) -> None:
        before = self._guard
        self._guard = before if kinds is None else kinds
        self.visit(node)
        self._guard = before

    def _kinds(self, node: ast.expr) -> frozenset[str] | None:
        """The kinds of an imported spec; None of anything else, and of what is always followed."""
        for module, name in self._module.imports.get(node.id, ()) if isinstance(node, ast.Name) else ():
            path = file_of(module)
            if path and path.is_relative_to(PACKAGE) and path.parent.name != ALWAYS:
                return _kinds_of(_tree(path)).get(str(name))
        return None
