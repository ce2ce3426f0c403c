"""Which code, data and machine a run came from, as tags."""

import getpass
import os
import platform
import subprocess
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from tlpipe import __version__

SECONDS = 5.0
EXPERIMENT, BASELINE = "dvc.experiment", "dvc.baseline"
"""Tags: the name that DVC gave the experiment, and the commit that it began from."""
OF_THE_TRAINING = ("tlpipe.version", "mlflow.source.", "git.", "hardware.", "python", "mlflow.user")
"""Tags (by prefix) that belong to the moment of training: a later stage must not replace them."""


def code_tags(folder: Path | None = None) -> dict[str, str]:
    """Version of tlpipe, git's commit, branch and whether tracked files differ from it, DVC's experiment; or less."""
    tags = {"tlpipe.version": __version__}
    with suppress(OSError, KeyError):  # a container may know no name for its user
        tags["mlflow.user"] = getpass.getuser()
    commit = _git(folder, "rev-parse", "HEAD")
    if commit:
        changed = _git(folder, "status", "--porcelain", "--untracked-files=no")
        branch = _git(folder, "rev-parse", "--abbrev-ref", "HEAD")
        tags |= {"mlflow.source.git.commit": commit, "git.dirty": "yes" if changed else "no"}
        tags |= {"mlflow.source.git.branch": branch} if branch else {}
    return tags | experiment_tags()


def experiment_tags() -> dict[str, str]:
    """The experiment that `dvc exp run` runs this process in; nothing outside of one."""
    known = {EXPERIMENT: os.environ.get("DVC_EXP_NAME"), BASELINE: os.environ.get("DVC_EXP_BASELINE_REV")}
    return {name: value for name, value in known.items() if value and known[EXPERIMENT]}


def source_tags(stage: str) -> dict[str, str]:
    """What MLflow shows as the source of a run: the DVC stage that made it."""
    return {"mlflow.source.name": f"dvc repro {stage}", "mlflow.source.type": "LOCAL", "dvc.stage": stage}


def dvc_tags(paths: Iterable[Path], lock: Path = Path("dvc.lock")) -> dict[str, str]:
    """`dvc.<path>` = DVC's hash of each path, as far as dvc.lock knows it: the outs of earlier stages, then deps."""
    if not lock.is_file():
        return {}
    hashes = _hashes(YAML(typ="safe", pure=True).load(lock.read_text(encoding="utf-8")) or {})
    return {f"dvc.{path.as_posix()}": hashes[path.as_posix()] for path in paths if path.as_posix() in hashes}


def hardware_tags(device: str = "", precision: str = "") -> dict[str, str]:
    """Operating system, processor and memory, and what the training ran on (as `reports/training` names it)."""
    import psutil

    tags = {
        "hardware.system": f"{platform.system()} {platform.machine()}",
        "hardware.cores": str(os.cpu_count()),
        "hardware.memory_gb": f"{psutil.virtual_memory().total / 1e9:.0f}",
        "python": platform.python_version(),
    }
    return tags | {f"hardware.{key}": v for key, v in (("device", device), ("precision", precision)) if v}


def _git(folder: Path | None, *arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", *arguments],  # noqa: S607  # the user's own git
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _hashes(lock: dict[str, Any]) -> dict[str, str]:
    stages = lock.get("stages", {}).values()
    found: dict[str, str] = {}
    for kind in ("deps", "outs"):  # outs last: they are the newer word on a path that is both
        for stage in stages:
            found |= {entry["path"]: entry["md5"] for entry in stage.get(kind, ()) if "md5" in entry}
    return found
