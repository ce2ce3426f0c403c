"""`tlpipe run`: `dvc repro` with the number of each stage, and three lines at the end; what came out, for Python."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tlpipe.config import PARAMS, ConfigError, read
from tlpipe.wording import baseline_ahead
from tlpipe.yaml_text import load_yaml

COMPARISON, REPORT, BUNDLE = Path("reports/comparison.json"), Path("reports/report.html"), Path("models/bundle")
BEGINS = re.compile(r"^(?:Running stage|Stage|Restored stage) '([^']+)'")
"""How DVC begins to speak of a stage."""


def run(
    folder: str | Path = ".", targets: Sequence[str] = (), say: Callable[[str], object] = print
) -> dict[str, Any] | None:
    """Run what is out of date in a project, and return the comparison (see `compare`); None if `targets` end before it.

    Args:
        folder: Of the project.
        targets: Stages to bring up to date with all that they need; all stages if there are none.
        say: Takes each line: those of the stages, with what number of how many begins, and at the end the champion,
            what to do next, and where things are.

    Raises:
        ConfigError: There is no project, or a stage failed; its own words went to `say` and to stderr.
    """
    root = Path(folder)
    total, seen = len(_stages(root)), list[str]()
    command = [sys.executable, "-m", "dvc", "repro", *targets]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", "DVC_NO_ANALYTICS": "1"}
    programs = str(Path(sys.executable).parent)
    environment["PATH"] = f"{programs}{os.pathsep}{environment.get('PATH', '')}"
    with subprocess.Popen(command, cwd=root, env=environment, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout or ():
            begun = BEGINS.match(line)
            if begun and begun[1] not in seen:
                seen.append(begun[1])
                line = f"[{len(seen)}/{total}] {line}"
            say(line.rstrip())
    if process.returncode:
        raise ConfigError(f"{seen[-1] if seen else 'dvc'} failed; what it says stands above")
    if not (root / COMPARISON).is_file():
        return None
    for line in ending(root):
        say(line)
    return compare(root)


def compare(folder: str | Path = ".") -> dict[str, Any]:
    """The comparison of a project's strategies, as reports/comparison.json has it.

    Raises:
        ConfigError: The compare stage has not run.
    """
    path = Path(folder) / COMPARISON
    if not path.is_file():
        raise ConfigError(f"{path} does not exist; `tlpipe run` (or `dvc repro compare`) makes it")
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def ending(root: Path) -> list[str]:
    """A baseline that leads; the champion with its interval, what to do next, and where report and bundle are."""
    comparison = compare(root)
    name, metric = comparison["champion"], comparison["metric"]
    entry, close = comparison["strategies"][name], comparison["too_close_to_call"]
    test = entry["test"].get(metric)
    value = f"{test['value']:.4f} [{test['low']:.4f}, {test['high']:.4f}]" if test else "not applicable"
    rivals = [each for each in close if each != name]
    close_by = f"; too close to call: {', '.join(rivals)}" if rivals else ""
    bundle = root / BUNDLE
    next_step = f"tlpipe serve {bundle}" if bundle.is_dir() else "tlpipe run (there is no bundle yet)"
    return [
        *baseline_ahead(comparison),
        f"champion: {name}, test {metric} {value}{close_by}",
        f"next: {next_step}",
        f"report: {root / REPORT}   bundle: {bundle}",
    ]


def _stages(root: Path) -> list[str]:
    """The stages of a project's dvc.yaml, those of a matrix one by one."""
    path = root / "dvc.yaml"
    if not path.is_file():
        raise ConfigError(f"{path} does not exist; `tlpipe init` starts a project")
    content, strategies = load_yaml(path.read_text(encoding="utf-8")), read(root / PARAMS).get("strategies", [])
    stages = content.get("stages", {}) if isinstance(content, dict) else {}
    names = list[str]()
    for name, stage in stages.items():
        names += [f"{name}@{strategy}" for strategy in strategies] if "matrix" in stage else [name]
    return names
