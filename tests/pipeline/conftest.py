"""A real project in a temporary folder: git, DVC, the shipped params.yaml made small, and one whole `dvc repro`."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tlpipe.project.init import init
from tlpipe.project.recipes import DIGITS
from tlpipe.project.status import rewrite

SMALL = {
    "data.limit_per_class": 6,
    "data.split.folds": 2,
    "data.split.validation": None,
    "backbone.width": 4,
    "backbone.samples": 200,
    "backbone.epochs": 1,
    "training.seeds": 2,
    "training.norm_statistics": "source",  # so short a pretraining has statistics that are far from its batches'
    "runtime.threads": 1,
    "runtime.precision": "fp32",
    "head.penalties": [0.1, 0.01],
    "finetune.top_layers.stage_epochs": 1,
    "finetune.top_layers.epochs": 1,
    "finetune.all_layers.stage_epochs": 2,
    "finetune.all_layers.epochs": 3,
    "finetune.scratch.epochs": 2,
    "evaluate.resamples": 100,
    "compare.resamples": 100,
    "export.samples": 8,
}


@dataclass
class Project:
    """A folder in which dvc is run as a user would."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)

    def run(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command to its end; its output is in the error when it fails."""
        done = subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False
        )
        if check and done.returncode:
            raise AssertionError(
                f"{command} ended with {done.returncode}:\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
            )
        return done

    def repro(self, *arguments: str) -> list[str]:
        """`dvc repro`; the names of the stages whose commands ran, but for `code`, which looks each time."""
        done = self.run("dvc", "repro", *arguments)
        lines = done.stdout.splitlines()
        ran = [line.split("'")[1] for line in lines if line.startswith("Running stage '")]
        return [name for name in ran if name != "code"]

    def status(self) -> dict[str, Any]:
        """What `dvc status` says of the stages that it would run, but for `code`."""
        found: dict[str, Any] = json.loads(self.run("dvc", "status", "--json").stdout)
        return {name: why for name, why in found.items() if name != "code"}

    def params(self) -> dict[str, Any]:
        """params.yaml as it is."""
        loaded: dict[str, Any] = YAML(typ="safe", pure=True).load((self.folder / "params.yaml").read_text())
        return loaded

    def set(self, changes: dict[str, Any]) -> None:
        """Change values of params.yaml by dotted path; comments stay."""
        yaml = YAML()
        path = self.folder / "params.yaml"
        values = yaml.load(path.read_text())
        for dotted, value in changes.items():
            *parents, last = dotted.split(".")
            node = values
            for parent in parents:
                node = node[parent]
            node[last] = value
        with path.open("w") as file:
            yaml.dump(values, file)

    def json(self, name: str) -> Any:
        """A JSON file of the project."""
        return json.loads((self.folder / name).read_text())

    def plans(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """By strategy: what `tlpipe plan --json` says of it now, and what its training wrote.

        Of a race it says what each contender would train; the training wrote down the one that won.
        """
        content = json.loads(self.run("tlpipe", "plan", "--json").stdout)
        said = content["strategies"]
        for name, contenders in content["advised"].items():
            if len(contenders) > 1:
                raced, written = [said.pop(f"{name}: {each}") for each in contenders], self._plan(name)
                said[name] = written if written in raced else raced[0]
        return said, {name: self._plan(name) for name in said}

    def _plan(self, name: str) -> Any:
        return self.json(f"reports/training/{name}/plan.json")


def make_project(folder: Path, changes: dict[str, Any], params: str = "params.yaml") -> Project:
    """A project with a shipped recipe, as `tlpipe init` makes it, which `changes` make small."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW", "PYTEST", "DVC"))}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    environment |= {"DVC_NO_ANALYTICS": "1", "OMP_NUM_THREADS": "1", "HOME": str(folder.parent)}
    environment |= {
        f"GIT_{who}_{what}": "test@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
    }
    project = Project(folder, environment)
    init(folder, name=DIGITS if params == "params.yaml" else Path(params).stem)
    (folder / "data/corpus").mkdir(parents=True)
    project.set(changes)
    rewrite(folder)
    return project


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The small project after one `dvc repro`, committed. Shared: leave it as it is, or use `project`."""
    project = make_project(tmp_path_factory.mktemp("pipeline") / "project", SMALL)
    project.repro()
    project.run("git", "add", "-A")
    project.run("git", "commit", "-qm", "first")
    return project


@pytest.fixture
def project(finished: Project, tmp_path: Path) -> Iterator[Project]:
    """A copy of the finished project that a test may change."""
    folder = tmp_path / "project"
    shutil.copytree(finished.folder, folder, symlinks=True)
    yield Project(folder, finished.environment)
    shutil.rmtree(folder, ignore_errors=True)
