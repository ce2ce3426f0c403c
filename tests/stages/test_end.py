"""How the process of a stage ends."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize("brought", ["torch", "transformers.masking_utils"])
def test_nothing_is_said_at_the_end(brought: str) -> None:
    """transformers brings triton, which reports as leaks what nobody has collected."""
    command = [sys.executable, "-c", f"import stages, {brought}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")
