"""`tlpipe init`: a project of one's own, written into a folder that may be in a git or DVC repository already."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tlpipe.config import PARAMS, ConfigError, read
from tlpipe.project.choices import params_for
from tlpipe.project.pipeline import pipeline
from tlpipe.project.recipes import DIGITS, recipe
from tlpipe.project.survey import survey

PIPELINE, README = Path("dvc.yaml"), Path("README.md")
IGNORED = """\
# what the stages write, and data: DVC keeps it (`dvc add data/mine`), git keeps the .dvc files
/data/*
!/data/*.dvc
!/data/.gitignore
/models/*
!/models/*.dvc
!/models/.gitignore
/reports/*
!/reports/comparison.json
/dvc_plots/
/.tlpipe/
/mlruns/
/mlartifacts/
/mlflow.db*
__pycache__/
.venv/
"""
CONFIG = """\
[core]
    analytics = false
{alone}[cache]
    type = "reflink,hardlink,symlink,copy"
"""
UNSEEN_BY_DVC = "__pycache__\n*.pyc\n.DS_Store\nThumbs.db\n"
PAGE = """\
# {name}

{task}, with tlpipe and DVC.

    pip install 'tlpipe[train]'
    dvc repro                       # everything that changed; then open reports/report.html
    tlpipe check && tlpipe plan     # what would train, before anything runs
    tlpipe serve models/bundle      # the champion as a server

`params.yaml` holds every choice, `dvc.yaml` the stages. Share results with `git push` and `dvc push`.
"""


@dataclass(frozen=True)
class Written:
    """What `init` did."""

    folder: Path
    files: list[str]
    """Written, or added to, relative to the folder; and the repositories that were begun."""
    seen: list[str]
    """What was seen of the data, a line each; empty for a recipe."""
    chosen: list[str]
    """What was chosen and why, a line each; empty for a recipe."""


def init(
    folder: Path, data: Path | None = None, name: str | None = None, backbone: str | None = None, scm: bool = True
) -> Written:
    """Write params.yaml, dvc.yaml, .gitignore, .dvcignore and README.md, and begin git and DVC where there is neither.

    Args:
        folder: Of the project; made if it is not there.
        data: What to look at and to write params.yaml for.
        name: A recipe, instead of `data`; with neither it is the offline default.
        backbone: KIND or KIND:NAME instead of the one that would be chosen.
        scm: Whether to use git; without it DVC is told that there is none.

    Raises:
        ConfigError: The folder has a project, or the data cannot be used. Nothing has been written then.
    """
    if data is not None and name is not None:
        raise ConfigError("give either --data, whose params are chosen, or --recipe, whose params are copied")
    if backbone is not None and data is None:
        raise ConfigError("--backbone goes with --data; in a recipe's params.yaml edit the section backbone")
    there = [str(path) for path in (PARAMS, PIPELINE) if (folder / path).exists()]
    if there:
        raise ConfigError(
            f"{folder} has {' and '.join(there)} already, and nothing is overwritten; choose another folder"
        )
    folder = folder.resolve()
    seen, chosen = list[str](), list[str]()
    if data is None:
        text = recipe(name or DIGITS)
    else:
        looked = survey(data.expanduser(), _apart(data, folder))
        text, chosen = params_for(looked, backbone, folder.name)
        seen = looked.describe()
    folder.mkdir(parents=True, exist_ok=True)
    begun = _begin(folder, scm)
    files = _write(folder, text)
    return Written(folder, [*begun, *files], seen, chosen)


def _apart(data: Path, folder: Path) -> str:
    """How params.yaml names the data's folder: relative to the project where it lies in it, absolute elsewhere.

    Raises:
        ConfigError: It holds the project, all of which would then be data.
    """
    path = Path(os.path.abspath(data.expanduser()))
    path = path.parent if path.is_file() else path
    if folder.is_relative_to(path):
        raise ConfigError(
            f"--data: {path} holds the project's folder {folder}, and DVC watches the data's folder as a whole; put "
            f"the data into a folder of their own, such as {folder / 'data/mine'}"
        )
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else str(path)


def _write(folder: Path, params: str) -> list[str]:
    (folder / PARAMS).write_text(params, encoding="utf-8")
    raw = read(folder / PARAMS)
    (folder / PIPELINE).write_text(pipeline(raw, folder), encoding="utf-8")
    files = [str(PARAMS), str(PIPELINE)]
    for name, text in ((".gitignore", IGNORED), (".dvcignore", UNSEEN_BY_DVC)):
        if _add_lines(folder / name, text):
            files.append(name)
    if not (folder / README).exists():
        page = PAGE.format(name=folder.name, task=_title(raw))
        (folder / README).write_text(page, encoding="utf-8")
        files.append(str(README))
    return files


def _title(params: Mapping[str, Any]) -> str:
    return str(params["task"]["kind"]).replace("_", " ").capitalize()


def _add_lines(path: Path, text: str) -> bool:
    """Add the lines that a file does not have; what is in it stays. Whether there were any."""
    before = path.read_text(encoding="utf-8") if path.is_file() else ""
    known = before.splitlines()
    missing = [line for line in text.splitlines() if line not in known]
    if missing:
        gap = "" if not before or before.endswith("\n") else "\n"
        path.write_text(before + gap + "\n".join(missing) + "\n", encoding="utf-8")
    return bool(missing)


def _begin(folder: Path, scm: bool) -> list[str]:
    """`git init` and `dvc init` where there is none above; without git DVC gets a project of its own here."""
    git = shutil.which("git") if scm else None
    begun = []
    if git and not _above(folder, ".git"):
        _run(["git", "init", "-q"], folder)
        begun.append("git init")
    repository = _above(folder, ".git") if git else None
    project = _above(folder, ".dvc") if scm else None
    if (folder / ".dvc").is_dir() or (project and (not repository or project.is_relative_to(repository))):
        return begun
    options = ["--no-scm"] if not repository else [] if repository == folder else ["--subdir"]
    _run([sys.executable, "-m", "dvc", "init", "-q", *options], folder)
    alone = "" if repository else "    no_scm = True\n"
    (folder / ".dvc/config").write_text(CONFIG.format(alone=alone), encoding="utf-8")
    return [*begun, " ".join(["dvc init", *options])]


def _above(folder: Path, name: str) -> Path | None:
    """The nearest folder, from this one up, that has an entry of this name."""
    return next((parent for parent in (folder, *folder.parents) if (parent / name).exists()), None)


def _run(command: list[str], folder: Path) -> None:
    environment = {**os.environ, "DVC_NO_ANALYTICS": "1"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ConfigError(f"`{' '.join(command)}` failed in {folder}: {(done.stderr or done.stdout).strip()}")
