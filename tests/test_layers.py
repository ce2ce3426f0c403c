"""A module imports only from lower layers, or from its own package."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ORDER = (
    "troubles", "endings", "locks", "dvc_lock", "cores", "ram", "files", "csv_files", "wording", "yaml_text",
    "config", "packaged", "code", "tasks", "preprocess", "bundle", "golden", "intervals", "metrics", "sums",
    "entities", "tagging", "answer_metrics", "tasks/metrics", "metric_facts", "schedule", "data", "tasks/samples",
    "backbones", "tasks/spec", "strategies", "plan_table", "train", "tasks/solver", "advise", "tasks/advice",
    "evaluate", "tasks/evaluation", "tasks/figures", "export", "tasks/export", "serve", "tasks/serving", "tracking",
    "report", "tasks/report", "across", "params", "progress", "lr_range", "stages", "project", "project_commands",
    "serve_commands", "cli",
)  # fmt: skip
"""A facet of a task is a layer of its own, above the part of the package that it is for; `tasks` is the registry."""
BASE = ("base", "union")
"""What the specs of tasks are made from, and what is made from them."""
MODULES = sorted(
    path for path in (ROOT / "tlpipe").rglob("*.py") if path.parent != ROOT / "tlpipe" or path.stem != "__init__"
)


def layer(module: str) -> str:
    """Of a dotted name. A task's file is of the layer of its last word: `shared/image_export` is of `tasks/export`."""
    top, *below = module.split(".")[1:]
    if top != "tasks" or len(below) < 1:
        return top
    return f"tasks/{below[1].split('_')[-1]}" if len(below) > 1 else "tasks/spec" if below[0] in BASE else "tasks"


def resolve(module: str, name: str) -> str:
    """`from package import name` is an import of the submodule where there is one."""
    folder = ROOT.joinpath(*module.split("."))
    is_module = (folder / f"{name}.py").is_file() or (folder / name / "__init__.py").is_file()
    return f"{module}.{name}" if is_module else module


def imported(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {resolve(node.module, alias.name) for alias in node.names}
    return {name for name in found if name.startswith("tlpipe.")}


def own_layer(path: Path) -> str:
    dotted = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    return layer(dotted.removesuffix(".__init__"))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_downhill(path: Path) -> None:
    mine = ORDER.index(own_layer(path))
    above = {name for name in imported(path) if ORDER.index(layer(name)) > mine}
    assert not above, f"{path.name} is in layer {ORDER[mine]!r} and imports {sorted(above)} from above"


def test_every_layer_is_there() -> None:
    assert {own_layer(path) for path in MODULES} <= set(ORDER)


@pytest.mark.parametrize(
    "path", [path for path in MODULES if path.stem == "__init__"], ids=lambda path: path.parent.name
)
def test_siblings_do_not_import_their_packages_union(path: Path) -> None:
    package = "tlpipe." + ".".join(path.parent.relative_to(ROOT / "tlpipe").parts)
    for sibling in path.parent.glob("*.py"):
        if sibling != path:
            assert package not in imported(sibling), f"{sibling.name} imports the union of its own package"


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        ("tlpipe.preprocess.image", "torch"),
        ("tlpipe.bundle", "torch"),
        ("tlpipe.strategies", "torch"),
        ("tlpipe.tracking", "mlflow"),
        ("tlpipe.cli", "torch"),
        ("tlpipe.serve", "torch"),
        ("tlpipe.serve", "transformers"),
        ("tlpipe.serve", "mlflow"),
        ("tlpipe.serve", "onnx"),
        ("tlpipe.serve.http.server", "torch"),
        ("tlpipe.serve.http.server", "mlflow"),
        ("tlpipe.train.trainer.loop", "mlflow"),
        ("tlpipe.train.trainer.loop", "torchvision"),
        ("tlpipe.backbones", "torchvision"),
        ("tlpipe.backbones", "timm"),
        ("tlpipe.backbones", "transformers"),
        ("tlpipe.preprocess.text", "torch"),
        ("tlpipe.preprocess.text", "transformers"),
    ],
)
def test_light_modules_do_not_load_heavy_ones(module: str, heavy: str) -> None:
    code = f"import sys, {module}; sys.exit({heavy!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
