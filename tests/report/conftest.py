"""The made-up project of tests/evaluate, compared and exported."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from tlpipe.stages import compare

LABELS = ("zero", "one", "<script>alert(1)</script>")


@pytest.fixture(scope="session")
def maker() -> ModuleType:
    path = Path(__file__).parents[1] / "evaluate" / "project.py"
    spec = importlib.util.spec_from_file_location("made_up_project", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory, maker: ModuleType) -> Path:
    """A project up to the bundle; shared, so tests only read it."""
    root = maker.build(tmp_path_factory.mktemp("made"), LABELS, size=240)
    assert compare.main(root) == 0
    maker.add_bundle(root, "all_layers", LABELS)
    return root
