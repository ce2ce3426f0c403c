"""The made-up project that the tests of evaluation and comparison share."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

LABELS = ("zero", "one", "<script>alert(1)</script>")


@pytest.fixture(scope="session")
def maker() -> ModuleType:
    spec = importlib.util.spec_from_file_location("made_up_project", Path(__file__).with_name("project.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory, maker: ModuleType) -> Path:
    """Three classes, four strategies, everything up to evaluation; shared, so tests only read it."""
    return maker.build(tmp_path_factory.mktemp("made"), LABELS, size=240)
