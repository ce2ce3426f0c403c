"""What every test may use; the thread counts are fixed so that bits are comparable between tests."""

import os
from pathlib import Path

import pytest

SHARED = Path(os.environ.get("TLPIPE_SHARED", Path(__file__).resolve().parents[2] / "shared"))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data sets and weights beside the checkout; skips where there is none."""
    if not (SHARED / "data").is_dir():
        pytest.skip(f"no shared data at {SHARED}; set TLPIPE_SHARED to use it")
    return SHARED
