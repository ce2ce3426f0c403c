"""SIGKILL anywhere in a pipeline: `python -m benchmarks.abuse.kills --kills 100`; with `--seconds 450` in pieces.

A tiny project is run to its end once. Then rounds from nothing: in each, every stage is killed three times, at moments
that are drawn over its whole time and DVC's own after it: all processes of `dvc repro`, DVC alone (its stage lives on),
and the stage alone; and a dozen times DVC as it starts. `dvc repro` is typed again after each, and where it refuses,
`tlpipe check` before it. At a round's end all bits must be those of the first run. Tracking is off: it takes no part in
the bits.
"""

import argparse
import hashlib
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from benchmarks.abuse import record
from benchmarks.projects import digits

PART = "kills"
HOW = ("group", "dvc", "stage")
"""What is killed: all of `dvc repro`, DVC alone, the running stage alone."""
STARTING, STARTS, AT_START = "DVC's start", 6.0, 12
"""A round's kills of a `dvc repro` in its first seconds, in which it reads and locks: what, how long, how many."""
PATIENCE = 300
"""Seconds after which a `dvc repro`, or a stage that outlived its own, counts as hanging."""
STRATEGIES = ["head_only", "top_layers"]
SMALL: dict[str, Any] = {
    "data.limit_per_class": 6, "data.split.folds": 2, "data.split.validation": None, "backbone.width": 4,
    "backbone.samples": 200, "backbone.epochs": 1, "runtime.threads": 1, "runtime.precision": "fp32",
    "head.penalties": [0.1, 0.01], "finetune.top_layers.stage_epochs": 1, "finetune.top_layers.epochs": 2,
    "evaluate.resamples": 100, "compare.resamples": 100, "export.samples": 8, "tracking.enabled": False,
    "strategies": STRATEGIES,
}  # fmt: skip
WORK = Path(tempfile.gettempdir()).resolve() / f"tlpipe-kills-{os.getuid()}"
"""Outside of every repository, so that `tlpipe init` begins one."""
COMPARED = ("models", "data", "reports/evaluation", "reports/parity.json")
"""All that has no clock in it."""
HELD = re.compile(r"is being run by process \d+")


def digests(project: Path) -> dict[str, str]:
    """sha256 of each file that must not differ."""
    files = [path for name in COMPARED for path in _files(project / name)]
    return {str(path.relative_to(project)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def _files(path: Path) -> list[Path]:
    """Of a folder without .gitignore, in which the lines stand in the order in which DVC came by."""
    inside = (each for each in path.rglob("*") if each.is_file() and each.name != ".gitignore")
    return sorted(inside) if path.is_dir() else [path]


def environment(folder: Path) -> dict[str, str]:
    """What the project's processes see; nothing of the caller's MLflow, DVC or git."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW", "DVC", "GIT_"))}
    names = {f"GIT_{who}_{what}": "abuse@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    path = f"{Path(sys.executable).parent}{os.pathsep}{kept['PATH']}"
    return kept | names | {"PATH": path, "HOME": str(folder), "DVC_NO_ANALYTICS": "1", "OMP_NUM_THREADS": "1"}


def make(project: Path) -> None:
    """The tiny project, as `tlpipe init` makes one."""
    digits(project, SMALL)


def stage_of(session: int) -> tuple[str, int] | None:
    """Name and process of the stage that runs in a `dvc repro`'s session: python's own, not the shell before it."""
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            words = (entry / "cmdline").read_bytes().split(b"\0")
            if len(words) > 3 and words[2] == b"stage" and os.getsid(int(entry.name)) == session:
                return "@".join(word.decode() for word in words[3:5] if word), int(entry.name)
    return None


def alive_in(project: Path) -> list[int]:
    """Processes that still work in the project."""
    alive = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if Path(process.cwd()) == project and process.status() != psutil.STATUS_ZOMBIE:
                alive.append(process.pid)
    return alive


class Kills:
    """The rounds, and how far they are; `state` is plain values."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.project, self.log = folder, folder / "project", folder / "repro.log"
        self.environment = environment(folder)
        kept = record.load(PART)
        if kept is None or not (folder / "fresh").is_dir():
            shutil.rmtree(folder, ignore_errors=True)
            kept = {"kills": [], "rounds": [], "stuck": [], "events": [], "missed": 0, "planned": None}
        self.state: dict[str, Any] = kept

    def go(self, kills: int, seconds: float) -> bool:
        """Kill until there are as many and the round is at its end, or the time is over; whether all is done."""
        ends = time.monotonic() + seconds if seconds else float("inf")
        if "reference" not in self.state:
            self.reference()
        while len(self.state["kills"]) < kills or self.state["planned"] is not None:
            if time.monotonic() > ends:
                return False
            if self.state["planned"] is None:
                self._begin()
            self._attempt()
            record.save(PART, self.state)
        return True

    def reference(self) -> None:
        """One undisturbed run: its bits, and how long each stage takes."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        make(self.project)
        shutil.copytree(self.project, self.folder / "fresh", symlinks=True)
        begun: dict[str, float] = {}
        seconds: dict[str, float] = {}
        process = self._repro()
        while process.poll() is None:
            running = stage_of(process.pid)
            if running:
                begun.setdefault(running[0], time.monotonic())
                seconds[running[0]] = time.monotonic() - begun[running[0]]
            time.sleep(0.01)
        if process.returncode:
            raise RuntimeError(f"the project does not run undisturbed:\n{self._said()}")
        shutil.copytree(self.project / "models/bundle", self.folder / "bundle")
        self.state |= {"reference": digests(self.project), "seconds": seconds}
        record.save(PART, self.state)

    def _begin(self) -> None:
        """A round from nothing: no outs, no caches, no recovery state."""
        number = len(self.state["rounds"])
        self._outlived()
        shutil.rmtree(self.project)
        shutil.copytree(self.folder / "fresh", self.project, symlinks=True)
        planned = {}
        for stage, seconds in self.state["seconds"].items():
            generator = random.Random(f"{number} {stage}")
            planned[stage] = [[how, generator.uniform(0, 1.2) * seconds] for how in generator.sample(HOW, len(HOW))]
        generator = random.Random(number)
        planned[STARTING] = [["group", generator.uniform(0, STARTS)] for _ in range(AT_START)]
        self.state |= {"planned": planned, "failed": 0}

    def _repro(self) -> "subprocess.Popen[bytes]":
        with self.log.open("wb") as output:
            return subprocess.Popen(
                ["dvc", "repro"], cwd=self.project, env=self.environment, stdout=output, stderr=output,
                start_new_session=True,
            )  # fmt: skip

    def _said(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")[-1500:]

    def _attempt(self) -> None:
        """One `dvc repro`, killed once where a stage runs that is still to be killed."""
        process, begun = self._repro(), time.monotonic()
        starting = self.state["planned"][STARTING]
        if starting and begun % 2 < 1:
            self._kill(process, *starting.pop())
            return
        while process.poll() is None:
            running = stage_of(process.pid)
            due = self.state["planned"].get(running[0]) if running else None
            if due:
                how, delay = due.pop(0)
                self._kill(process, how, delay)
                return
            if time.monotonic() - begun > PATIENCE:
                os.killpg(process.pid, signal.SIGKILL)
                self._give_up(f"dvc repro hangs: {self._said()}")
                return
            time.sleep(0.01)
        if process.returncode == 0:
            self._end()
        else:
            self._failed()

    def _kill(self, process: "subprocess.Popen[bytes]", how: str, delay: float) -> None:
        with suppress(subprocess.TimeoutExpired):
            process.wait(delay)
        running = stage_of(process.pid) if process.poll() is None else None
        if process.poll() is not None or (how == "stage" and running is None):
            self.state["missed"] += 1
        else:
            if how == "group":
                os.killpg(process.pid, signal.SIGKILL)
            else:
                os.kill(process.pid if how == "dvc" or running is None else running[1], signal.SIGKILL)
            self.state["kills"].append([running[0] if running else "between stages", how])
            self.state["failed"] = 0
        if how == "stage":
            with suppress(subprocess.TimeoutExpired):
                process.wait(PATIENCE)
        if process.poll() is None:
            with suppress(ProcessLookupError):
                if how != "dvc":
                    os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def _failed(self) -> None:
        """A `dvc repro` that nobody killed: what is said of it, and what README says to do then."""
        said = self._said()
        self.state["failed"] += 1
        if HELD.search(said):
            self._event("waited for a stage that had outlived its dvc")
        else:
            check = subprocess.run(["tlpipe", "check"], cwd=self.project, env=self.environment, capture_output=True)
            healed = b"half written" in check.stdout + check.stderr
            self._event("healed DVC's lock" if healed else f"typed again after: {said[-300:]}")
        self._outlived()
        if self.state["failed"] > 2:
            self._give_up(said)

    def _outlived(self) -> None:
        """Wait for what is still at work in the project."""
        ends = time.monotonic() + PATIENCE
        while alive_in(self.project) and time.monotonic() < ends:
            time.sleep(0.1)
        for left in alive_in(self.project):
            self._event("killed what hung")
            with suppress(ProcessLookupError):
                os.kill(left, signal.SIGKILL)

    def _event(self, what: str) -> None:
        self.state["events"].append(what)

    def _give_up(self, said: str) -> None:
        self.state["stuck"].append(said)
        self.state["rounds"].append({"differences": [], "ended": False})
        self.state["planned"] = None

    def _end(self) -> None:
        """A round's end: nothing may differ."""
        self._outlived()
        after, before = digests(self.project), self.state["reference"]
        differ = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
        self.state["rounds"].append({"differences": differ, "ended": True})
        self.state["planned"] = None

    def summary(self) -> dict[str, Any]:
        """Counts for the results."""
        kills, rounds = self.state["kills"], self.state["rounds"]
        return {
            "kills": len(kills),
            "of": dict(sorted(Counter(how for _, how in kills).items())),
            "at": dict(sorted(Counter(stage for stage, _ in kills).items())),
            "too late to kill": self.state["missed"],
            "rounds to the end": sum(each["ended"] for each in rounds),
            "files compared a round": len(self.state["reference"]),
            "differences": sorted(differences := {name for each in rounds for name in each["differences"]}),
            "stuck projects": len(self.state["stuck"]),
            "other": dict(Counter(self.state["events"])),
            "faults": [*sorted(differences), *self.state["stuck"]],
        }


def run(kills: int, seconds: float = 0) -> dict[str, Any] | None:
    """The counts, recorded; None where the time was over before, and another call goes on."""
    harness = Kills(WORK)
    if not harness.go(kills, seconds):
        return None
    record.publish(PART, summary := harness.summary())
    return summary


def bundle() -> Path:
    """The bundle of the tiny project, which is run to its end if it was not."""
    harness = Kills(WORK)
    if "reference" not in harness.state:
        harness.reference()
    return harness.folder / "bundle"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=0, help="stop after so long, to go on later; 0 = to the end")
    wanted = parser.parse_args()
    sys.exit(record.end(PART, run(wanted.kills, wanted.seconds)))
