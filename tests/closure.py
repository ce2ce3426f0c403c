"""Which of our files a stage's result depends on: the closure of its imports, function-level ones included.

`python tests/closure.py` rewrites the code deps of dvc.yaml.
"""

import ast
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parents[1]
SHOWS_ONLY = (
    "tlpipe/tracking/",
    "tlpipe/progress.py",
    "tlpipe/plan_table.py",
    "tlpipe/wording.py",
    "tlpipe/__init__.py",
    "tlpipe/stages/__init__.py",
    "tlpipe/stages/runner.py",
    "tlpipe/endings.py",
)
"""What can change how a stage looks or ends, or where its figures are also sent, but not what it writes."""
READ_BY_NEIGHBOURS = (".j2", ".css")
"""Files that the modules of their folder read; a .json is read by the module of its own name."""
CODE = ("tlpipe/",)


def imports(path: Path) -> set[Path]:
    """Our own files that `path` names in import statements, anywhere in it."""
    found: set[Path] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        for name in names:
            found.update(files(name))
    return found


def files(module: str) -> set[Path]:
    """The file of a module of ours and the `__init__` files of its packages; empty for anybody else's."""
    parts = module.split(".")
    if parts[0] != "tlpipe":
        return set()
    found = {ROOT.joinpath(*parts[:depth], "__init__.py") for depth in range(1, len(parts) + 1)}
    found.add(ROOT.joinpath(*parts).with_suffix(".py"))
    return {path for path in found if path.is_file()}


def closure(start: Path) -> set[str]:
    """Every file of ours that `start` needs, itself included, relative to the repository; without SHOWS_ONLY."""
    seen: set[Path] = set()
    queue = {start}
    while queue:
        path = queue.pop()
        seen.add(path)
        relative = str(path.relative_to(ROOT))
        if not relative.startswith(SHOWS_ONLY):
            queue |= imports(path) - seen
    seen |= {other for path in seen for other in path.parent.iterdir() if other.suffix in READ_BY_NEIGHBOURS}
    seen |= {path.with_suffix(".json") for path in seen if path.with_suffix(".json").is_file()}
    names = {str(path.relative_to(ROOT)) for path in seen}
    return {name for name in names if not name.startswith(SHOWS_ONLY)}


def needed(stage: dict[str, Any]) -> set[str]:
    """The closure of the `tlpipe stage x` that a stage of dvc.yaml runs."""
    return closure(ROOT / "tlpipe/stages" / f"{stage['cmd'].split()[2]}.py")


def folded(names: set[str]) -> list[str]:
    """The same files, a package's folder standing for all of its files where all of them are in."""
    packages = {str(Path(name).parent) for name in names if name.startswith("tlpipe/") and name.count("/") > 1}
    for folder in sorted(packages):
        inside = {str(path.relative_to(ROOT)) for path in (ROOT / folder).rglob("*") if "__pycache__" not in path.parts}
        if inside <= names:
            names = (names - inside) | {folder}
    return sorted(names)


def unfolded(deps: list[str]) -> set[str]:
    """The code files among a stage's deps, folders replaced by their files."""
    found = set()
    for dep in deps:
        if dep.startswith(CODE) and (ROOT / dep).is_dir():
            inside = (path for path in (ROOT / dep).rglob("*") if path.is_file() and "__pycache__" not in path.parts)
            found |= {str(path.relative_to(ROOT)) for path in inside}
        elif dep.startswith(CODE):
            found.add(dep)
    return found


def rewrite() -> None:
    yaml = YAML()
    yaml.width = 200
    yaml.indent(mapping=2, sequence=4, offset=2)
    path = ROOT / "dvc.yaml"
    pipeline = yaml.load(path.read_text())
    for stage in pipeline["stages"].values():
        data = [dep for dep in stage.get("deps", []) if not dep.startswith(CODE)]
        stage["deps"] = data + folded(needed(stage))
    with path.open("w") as file:
        yaml.dump(pipeline, file)


if __name__ == "__main__":
    rewrite()
