"""Each peer's own environment, below `.tlpipe/bench/`: made by uv once, with the torch that tlpipe itself uses."""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / ".tlpipe/bench"
REQUIREMENTS = Path(__file__).parent / "requirements"
SHARED = ("torch", "torchvision")
"""What every environment has in this process's version, so that tools are compared and not torch versions."""


class NotInstalled(Exception):  # noqa: N818
    """A peer that cannot take part, and why."""


def python_of(peer: str, requirements: Path = REQUIREMENTS, shared: Sequence[str] = SHARED) -> Path:
    """The interpreter of a peer's environment, which is made or brought up to date if need be.

    `requirements/<peer>.txt` is what it holds, `shared` the packages that it has in this process's version.

    Raises:
        NotInstalled: When uv is missing, there is no network, or the versions do not go together.
    """
    folder, pins = FOLDER / peer, [f"{name}=={version(name)}" for name in shared]
    wanted = hashlib.sha256("\n".join([*pins, (requirements / f"{peer}.txt").read_text()]).encode()).hexdigest()
    python, mark = folder / "bin/python", folder / ".ready"
    if python.exists() and mark.exists() and mark.read_text() == wanted:
        return python
    uv = find_uv()
    FOLDER.mkdir(parents=True, exist_ok=True)
    override = FOLDER / f"{peer}.txt"
    override.write_text("\n".join(pins) + "\n", encoding="utf-8")
    _run([uv, "venv", "-q", "--clear", "--python", sys.executable, str(folder)])
    given = ["-r", str(requirements / f"{peer}.txt"), "--override", str(override)]
    _run([uv, "pip", "install", "-q", "-p", str(python), *pins, *given])
    mark.write_text(wanted, encoding="utf-8")
    return python


def find_uv() -> str:
    """The uv that the Makefile put there, or on PATH. Raises NotInstalled."""
    own = ROOT / ".tlpipe/tools/uv"
    found = str(own) if own.exists() else shutil.which("uv")
    if found is None:
        raise NotInstalled("uv is not here: run `make bench`, or install it (https://docs.astral.sh/uv)")
    return found


def _run(command: list[str]) -> None:
    clean = {name: value for name, value in os.environ.items() if name not in ("VIRTUAL_ENV", "PYTHONPATH")}
    done = subprocess.run(command, capture_output=True, text=True, env=clean, check=False)
    if done.returncode:
        raise NotInstalled(f"`{' '.join(command[:3])} …` failed: {done.stderr.strip()[-600:]}")
