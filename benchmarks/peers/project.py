"""A temporary tlpipe project: its own params.yaml, copies of the code, and the real stage commands run in it."""

import json
import os
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from benchmarks.peers.memory import Peak, Ran, run

ROOT = Path(__file__).parents[2]
RECIPE = ROOT / "recipes/hymenoptera.yaml"
LAUNCHER = Path(__file__).with_name("stage.py")
LATE = ("check", "tokenizer", "pretrain", "embed", "head", "finetune", "evaluate")
"""Stages that import a library of networks during their work, because they build one; peers import it beforehand."""


class StageFailed(Exception):  # noqa: N818
    """A stage command ended with an error; the message has the end of its output."""


def recipe() -> dict[str, Any]:
    """The recipe that benchmarks start from, as plain values, nothing tracked."""
    params: dict[str, Any] = YAML(typ="safe").load(RECIPE)
    params["tracking"]["enabled"] = False
    params["training"] |= {"seeds": 1}
    params["runtime"] |= {"device": "cpu", "precision": "fp32", "compile": False}
    return params


@dataclass
class Project:
    """A folder with a pipeline in it, and what its stages took so far."""

    folder: Path
    seconds: dict[str, float] = field(default_factory=dict)
    """Wall time of each measured command, imports included."""
    imports: dict[str, float] = field(default_factory=dict)
    """Of these, what passed until the process had started and imported everything."""
    peak: Peak = field(default_factory=lambda: Peak(0, 0))
    """Over the measured commands."""
    late: tuple[str, ...] = ("torchvision",)
    """What the stages in LATE import."""

    @classmethod
    def make(cls, folder: Path, params: dict[str, Any]) -> "Project":
        """Anew, with nothing computed and nothing cached."""
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        shutil.copytree(ROOT / "tlpipe", folder / "tlpipe", ignore=shutil.ignore_patterns("__pycache__"))
        YAML().dump(params, folder / "params.yaml")
        python(folder, ["-m", "compileall", "-q", "tlpipe"], folder / "stages.log")
        return cls(folder)

    def stage(self, name: str, *arguments: str, measured: bool = True) -> Ran:
        """Run `tlpipe stage NAME ARGUMENTS` (through stage.py, which times its imports). Raises StageFailed."""
        log, stamp = self.folder / "stages.log", self.folder / "imported"
        modules = ",".join([f"tlpipe.stages.{name}", *(self.late if name in LATE else ())])
        stamp.unlink(missing_ok=True)
        ran = python(self.folder, [str(LAUNCHER), str(stamp), modules, name, *arguments], log)
        if ran.code or not stamp.exists():
            raise StageFailed(f"the stage {name} ended with {ran.code}: {_tail(log)}")
        if measured:
            key = "@".join((name, *arguments))
            self.seconds[key] = ran.seconds
            self.imports[key] = float(stamp.read_text()) - ran.begun
            peak = self.peak
            self.peak = Peak(max(peak.total, ran.peak.total), max(peak.anonymous, ran.peak.anonymous))
        return ran

    def work_seconds(self) -> dict[str, float]:
        """Of each measured command, without its imports."""
        return {name: seconds - self.imports[name] for name, seconds in self.seconds.items()}

    def own_seconds(self) -> float:
        """The sum of what the stages measured themselves (`reports/training/*/timing.json`)."""
        files = self.folder.glob("reports/training/*/timing.json")
        return sum(float(json.loads(file.read_text())["seconds"]) for file in files)


def python(folder: Path, arguments: list[str], log: Path) -> Ran:
    """This interpreter, without a GPU, with `folder` as the place of tlpipe and of the stages."""
    environment = {**os.environ, "PYTHONPATH": str(folder), "CUDA_VISIBLE_DEVICES": ""}
    return run([sys.executable, *arguments], folder, environment, log)


def _tail(log: Path) -> str:
    return log.read_text(encoding="utf-8", errors="replace")[-800:].strip()
