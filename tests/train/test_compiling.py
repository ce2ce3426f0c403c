"""runtime.compile: what is trained is the same, an interruption changes no bit, and no compiler is said so at once."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.tagged import pack_tagged
from tests.train.conftest import make_packed

ROOT = Path(__file__).resolve().parents[2]


def run(arguments: list[str], kernels: Path, **more: str) -> subprocess.CompletedProcess[str]:
    """Whatever was compiled on this machine before is not there: not even `kernels`, unless the test made it."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **more}
    environment["TORCHINDUCTOR_CACHE_DIR"] = str(kernels)
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def train(packed: Path, out: Path, how: str, kernels: Path, death: int = 0) -> dict[str, Any]:
    out.mkdir(exist_ok=True)
    worker = ROOT / "tests/train/compiled_worker.py"
    done = run([str(worker), str(packed), str(out), how, str(death)], kernels)
    assert done.returncode == (-signal.SIGKILL if death else 0), done.stderr[-4000:]
    assert "recompile_limit" not in done.stderr
    result: dict[str, Any] = {} if death else torch.load(out / "result.pt")
    return result


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["images", "words"])
def test_compiled_it_learns_the_same_and_a_kill_changes_no_bit(tmp_path: Path, kind: str) -> None:
    """Killed between batches of different sizes, in the second epoch of a phase with kept activations."""
    (pack_tagged if kind == "words" else make_packed)(tmp_path if kind == "words" else tmp_path / "packed")
    packed, kernels = tmp_path / "packed", tmp_path / "kernels"
    eager = train(packed, tmp_path / "eager", "eager", kernels)
    whole = train(packed, tmp_path / "whole", "compiled", kernels)
    assert whole["kept"] == eager["kept"] != []
    assert whole["model"].keys() == eager["model"].keys()
    assert not any("_orig_mod" in name for name in whole["model"])
    assert torch.allclose(torch.tensor(whole["figures"]), torch.tensor(eager["figures"]), atol=1e-3)
    for name, value in eager["model"].items():
        assert torch.allclose(value.float(), whole["model"][name].float(), atol=1e-2), name
    train(packed, tmp_path / "killed", "compiled", kernels, death=10)
    again = train(packed, tmp_path / "killed", "compiled", tmp_path / "others")
    assert again["figures"] == whole["figures"]
    assert all(torch.equal(value, again["model"][name]) for name, value in whole["model"].items())


REFUSED = """
from tlpipe.config import ConfigError
from tlpipe.train.hardware.device import Runtime

machine = Runtime(device="cpu", compile=True, threads=1, precision="fp32").resolve()
try:
    machine.refuse_what_fails()
except ConfigError as error:
    print(error)
"""


BROKEN = """#!/bin/sh
case $* in
  *-c*) echo 'x.h:3: fatal error: Python.h: none' >&2; exit 1;;
  *) echo 'g++ (GCC) 12.2.0';;
esac
"""


@pytest.mark.parametrize(
    ("script", "said"), [(None, "No working C++ compiler found"), (BROKEN, "fatal error: Python.h: none")]
)
def test_without_a_compiler_it_says_what_to_do(tmp_path: Path, script: str | None, said: str) -> None:
    compiler = tmp_path / "compiler"
    if script:
        compiler.write_text(script)
        compiler.chmod(0o755)
    done = run(["-c", REFUSED], tmp_path / "kernels", CXX=str(compiler))
    assert "runtime.compile: true was given, but torch.compile does not work on cpu here" in done.stdout, done.stderr
    assert said in done.stdout
    assert "install what is missing, or set runtime.compile to false" in done.stdout


@pytest.mark.slow
def test_with_a_compiler_nothing_is_said(tmp_path: Path) -> None:
    done = run(["-c", REFUSED], tmp_path / "kernels")
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
