"""Slow: the wheel in a bare environment outside of the repository: init, dvc repro, predict, serve."""

import csv
import io
import json
import os
import socket
import subprocess
import sys
import sysconfig
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.project.conftest import images, texts
from tests.serve.test_elsewhere import run, uv, wheel  # noqa: F401

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.slow
SMALL: dict[str, Any] = {
    "strategies": ["head_only"],
    "data.split.folds": None,
    "head.penalties": [0.1, 0.01],
    "runtime.threads": 1,
    "runtime.precision": "fp32",
    "evaluate.resamples": 100,
    "compare.resamples": 100,
    "export.samples": 4,
    "tracking.enabled": False,
}
LETTERS = {"backbone.width": 4, "backbone.samples": 100, "backbone.epochs": 1}
BERT = {
    "backbone.size": {"layers": 1, "width": 16, "heads": 2, "vocabulary": 120, "lowercase": True},
    "backbone.epochs": 1,
    "backbone.max_length": 16,
    "backbone.corpus": ["data/plain.txt"],
    "data.checks.near_duplicates": None,
}
CHANGES: dict[str, set[str]] = {
    "train/trainer/loop.py": {"pretrain", "finetune@head_only"},
    "serve/http/app.py": set(),
    "data/text_table.py": set(),
    "metrics.py": {
        "check",
        "pretrain",
        "head",
        "finetune@head_only",
        "evaluate@head_only",
        "compare",
        "export",
        "report",
    },
    "report/report.html.j2": {"report"},
}  # fmt: skip
"""By the installed file that is changed, the stages of an image project that run again."""


class Bare:
    """An environment with the wheel; what it depends on is that of this one."""

    def __init__(self, folder: Path, built: Path) -> None:
        run(uv(), "venv", "-q", "--python", sys.executable, folder / "venv")
        run(uv(), "pip", "install", "-q", "--no-deps", "--python", folder / "venv", built)
        self.bin = folder / "venv/bin"
        (packages,) = (folder / "venv/lib").glob("python*/site-packages")
        (packages / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
        self.package = packages / "tlpipe"
        known = {key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW", "PYTEST", "DVC"))}
        people = [f"GIT_{who}_{what}" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")]
        self.environment = {
            **known, "PATH": f"{self.bin}{os.pathsep}{known['PATH']}", "DVC_NO_ANALYTICS": "1", "OMP_NUM_THREADS": "1",
            "HOME": str(folder), "HF_HUB_OFFLINE": "1",
            **dict.fromkeys(people, "test@example.org"),
        }  # fmt: skip

    def tlpipe(self, folder: Path, *arguments: object) -> str:
        return run(self.bin / "tlpipe", *arguments, cwd=folder, env=self.environment)

    def dvc(self, folder: Path, *arguments: object) -> str:
        return run(self.bin / "python", "-m", "dvc", *arguments, cwd=folder, env=self.environment)

    def repro(self, folder: Path) -> list[str]:
        lines = self.dvc(folder, "repro").splitlines()
        return [line.split("'")[1] for line in lines if line.startswith("Running stage '")]


@pytest.fixture(scope="module")
def bare(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Bare:  # noqa: F811
    return Bare(tmp_path_factory.mktemp("bare"), wheel)


def shrink(folder: Path, changes: dict[str, Any]) -> None:
    """Make the params small, and write the dvc.yaml that goes with them."""
    path, yaml = folder / "params.yaml", YAML()
    values = yaml.load(path.read_text())
    for dotted, value in (SMALL | changes).items():
        *parents, last = dotted.split(".")
        node = values
        for parent in parents:
            node = node[parent]
        node[last] = value
    with path.open("w") as file:
        yaml.dump(values, file)


@pytest.fixture(scope="module")
def insects(bare: Bare, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images in a subfolder of a git repository that has a DVC project, after `dvc repro`."""
    top = tmp_path_factory.mktemp("repository")
    run("git", "init", "-q", cwd=top)
    bare.dvc(top, "init", "-q")
    folder = top / "models of mine/insects"
    images(folder / "data/mine", "ant", "bee", count=16)
    before = set(top.iterdir())
    bare.tlpipe(top, "init", "--data", folder / "data/mine", "--backbone", "letters", folder)
    assert set(top.iterdir()) == before
    assert not (folder / ".dvc").exists()
    shrink(folder, LETTERS)
    bare.dvc(folder, "add", "-q", "data/mine")
    run("git", "add", "-A", cwd=top)
    assert bare.repro(folder)[:2] == ["code", "check"]
    run("git", "add", "-A", cwd=top)
    run("git", "commit", "-qm", "all", cwd=top, env=bare.environment)
    return folder


@contextmanager
def serving(bare: Bare, bundle: Path) -> Iterator[str]:
    """`tlpipe serve` of the bundle, once it is ready; its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    command = [bare.bin / "tlpipe", "serve", bundle, "--port", port, "--device", "cpu"]
    server = subprocess.Popen(command, env=bare.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until = time.monotonic() + 180
    try:
        while True:
            with suppress(OSError):
                urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/health/ready").close()
                break
            assert server.poll() is None
            assert time.monotonic() < until
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(30)


def test_images_in_a_repository_from_init_to_a_server(bare: Bare, insects: Path) -> None:
    assert bare.repro(insects) == ["code"]
    assert "data/mine.dvc" in run("git", "ls-files", cwd=insects)
    said = bare.tlpipe(insects, "predict", "models/bundle", "data/mine/ant/1.png", "--device", "cpu")
    assert "ant" in said
    assert (insects / "reports/report.html").stat().st_size > 10_000
    with serving(bare, insects / "models/bundle") as url:
        body = (insects / "data/mine/bee/1.png").read_bytes()
        request = urllib.request.Request(f"{url}/predict", body, {"Content-Type": "image/png"})
        assert json.loads(urllib.request.urlopen(request).read())["predictions"]


def test_a_colleague_gets_everything_by_git_and_dvc(bare: Bare, insects: Path, tmp_path: Path) -> None:
    top = insects.parents[1]
    bare.dvc(top, "remote", "add", "-q", "--local", "-d", "shared", tmp_path / "remote")
    bare.dvc(insects, "push", "-q")
    run("git", "clone", "-q", top, tmp_path / "clone")
    bare.dvc(tmp_path / "clone", "remote", "add", "-q", "--local", "-d", "shared", tmp_path / "remote")
    theirs = tmp_path / "clone/models of mine/insects"
    bare.dvc(theirs, "pull", "-q")
    status = json.loads(bare.dvc(theirs, "status", "--json"))
    assert status == {"code": ["always changed"]}
    assert run("git", "status", "--porcelain", cwd=theirs) == ""
    assert (theirs / "reports/report.html").is_file()
    assert (theirs / "reports/comparison.json").is_file()


def test_an_experiment_in_a_folder_of_its_own_finds_the_data(bare: Bare, insects: Path) -> None:
    bare.dvc(insects, "exp", "run", "-q", "--temp", "-n", "warm", "-S", "data.split.seed=4", "prepare")
    shown = list(csv.DictReader(io.StringIO(bare.dvc(insects, "exp", "show", "--csv"))))
    assert {row["Experiment"]: row["data.split.seed"] for row in shown}["warm"] == "4"
    assert not [row for row in shown if row.get("State") == "Failed"]  # a column only where one is not done
    assert run("git", "status", "--porcelain", cwd=insects) == ""


@pytest.mark.parametrize("name", CHANGES)
def test_other_installed_code_reruns_what_it_can_change(bare: Bare, insects: Path, name: str) -> None:
    file = bare.package / name
    before = file.read_bytes()
    file.write_bytes(before + (b"\n{# a comment #}" if name.endswith(".j2") else b"\n# a comment\n"))
    try:
        told = bare.tlpipe(insects, "status")
        bare.dvc(insects, "repro", "-q", "code")
        status = json.loads(bare.dvc(insects, "status", "--json"))
    finally:
        file.write_bytes(before)
        bare.dvc(insects, "repro", "-q", "code")
    assert set(status) - {"code"} == CHANGES[name]
    assert {line.split(":")[0] for line in told.splitlines() if f"tlpipe/{name}" in line} == CHANGES[name]


def test_texts_in_a_folder_without_git(bare: Bare, tmp_path: Path) -> None:
    folder = tmp_path / "moods"
    (folder / "data/mine").mkdir(parents=True)
    texts(folder / "data/mine/films.csv", 40)
    lines = [f"This is film number {number}. It is a good film of the year." for number in range(60)]
    (folder / "data/plain.txt").write_text("\n\n".join(lines))
    bare.tlpipe(folder, "init", "--no-scm", "--data", "data/mine", "--backbone", "bert")
    assert not (folder / ".git").exists()
    shrink(folder, BERT)
    assert bare.tlpipe(folder, "upgrade").startswith("dvc.yaml is written anew")
    assert "sample_text" not in bare.repro(folder)
    assert bare.repro(folder) == ["code"]
    (folder / "ask.txt").write_text("a good film\n")
    assert "pos" in bare.tlpipe(folder, "predict", "models/bundle", "ask.txt", "--device", "cpu")


def test_an_empty_folder_becomes_a_repository_with_a_pipeline(bare: Bare, tmp_path: Path) -> None:
    bare.tlpipe(tmp_path, "init")
    assert (tmp_path / ".git").is_dir()
    assert "sample_data" in bare.dvc(tmp_path, "stage", "list", "--name-only")
    assert len((tmp_path / "dvc.yaml").read_text().splitlines()) <= 150
    again = subprocess.run(
        [bare.bin / "tlpipe", "init"], cwd=tmp_path, env=bare.environment, capture_output=True, text=True, check=False
    )
    assert again.returncode == 2
    assert "nothing is overwritten" in again.stderr


def test_the_readmes_lines_work_as_they_stand(bare: Bare, tmp_path: Path) -> None:
    section = (ROOT / "README.md").read_text().split("## Use your own data")[1]
    first, *lines, last = section.split("```")[1].strip().splitlines()
    assert first == "pip install 'tlpipe[train]'"
    assert last.split("#")[0].strip() == "dvc repro"
    images(tmp_path / "photos", "ant", "bee")
    program = "\n".join([*lines, "python -m dvc repro prepare"])
    run("bash", "-euc", program, cwd=tmp_path, env={**bare.environment, "HOME": str(tmp_path)})
    assert (tmp_path / "insects/data/packed/dataset.json").is_file()
