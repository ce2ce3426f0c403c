"""data/code.json: equal code, equal hashes; other code or other packages, other hashes for exactly whom it concerns."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tlpipe.code import fingerprint
from tlpipe.code.fingerprint import code_of, installed, own_module, stage_hash
from tlpipe.code.names import PACKAGE
from tlpipe.config import read
from tlpipe.stages import code as stage

ROOT = PACKAGE.parent
PARAMS = read(ROOT / "params.yaml")
STAGES = ("prepare", "embed", "finetune", "export")


def hashes(folder: Path) -> dict[str, str]:
    """By the copy of the package in a folder, as a process of its own finds them."""
    program = (
        "import json, sys; from pathlib import Path; from tlpipe.code.fingerprint import code_of; "
        "from tlpipe.config import read; "
        f"print(json.dumps(code_of({STAGES!r}, read(Path({str(ROOT / 'params.yaml')!r})))['stages']))"
    )
    environment = {"PYTHONPATH": str(folder), "PATH": "", "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([sys.executable, "-c", program], cwd=folder, env=environment, capture_output=True, check=True)
    found: dict[str, str] = json.loads(done.stdout)
    return found


def test_a_copy_elsewhere_has_the_same_hashes_and_a_comment_changes_whom_it_concerns(tmp_path: Path) -> None:
    shutil.copytree(PACKAGE, tmp_path / "tlpipe", ignore=shutil.ignore_patterns("__pycache__"))
    before = hashes(tmp_path)
    assert before == code_of(STAGES, PARAMS)["stages"]
    for name in ("train/trainer/loop.py", "serve/http/app.py", "data/squad.py"):
        with (tmp_path / "tlpipe" / name).open("a") as file:
            file.write("# a comment\n")
    after = hashes(tmp_path)
    assert {name for name in STAGES if after[name] != before[name]} == {"finetune"}


def test_another_version_of_a_package_changes_the_stages_that_use_it(monkeypatch: pytest.MonkeyPatch) -> None:
    before = code_of(STAGES, PARAMS)
    versions = {**before["packages"], "onnx": "99"}
    monkeypatch.setattr(fingerprint, "package_version", lambda name: versions.get(name, ""))
    after = code_of(STAGES, PARAMS)
    assert {name for name in STAGES if after["stages"][name] != before["stages"][name]} == {"export"}
    assert after["installed"] != before["installed"]


def test_the_recovery_state_goes_by_the_same_hash(tmp_path: Path) -> None:
    stages = code_of(STAGES, PARAMS)["stages"]
    assert stage_hash("finetune", PARAMS, tmp_path / "none.json") == stages["finetune"]
    known = {"stages": {"finetune": "known"}, "installed": installed(PARAMS), "packages": {}, "files": {}}
    (tmp_path / "code.json").write_text(json.dumps(known))
    assert stage_hash("finetune", PARAMS, tmp_path / "code.json") == "known"
    (tmp_path / "code.json").write_text(json.dumps({**known, "installed": "another"}))
    assert stage_hash("finetune", PARAMS, tmp_path / "code.json") == stages["finetune"]


def test_a_module_of_the_projects_own_is_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    backbone: dict[str, Any] = {"kind": "checkpoint", "architecture": {"library": "module", "name": "mine.net:build"}}
    params = {**PARAMS, "backbone": backbone}
    assert own_module(params) is None
    Path("mine").mkdir()
    Path("mine/net.py").write_text("a = 1\n")
    before = code_of(STAGES, params)["stages"]
    assert own_module(params) == Path("mine/net.py")
    Path("mine/net.py").write_text("a = 2\n")
    after = code_of(STAGES, params)["stages"]
    assert {name for name in STAGES if after[name] != before[name]} == {"embed", "finetune", "export"}


def test_the_stage_leaves_a_file_alone_that_is_up_to_date(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "data/code.json"
    stage.main(ROOT / "params.yaml", out)
    written, told = out.read_bytes(), out.stat().st_mtime_ns
    stage.main(ROOT / "params.yaml", out)
    assert (out.read_bytes(), out.stat().st_mtime_ns) == (written, told)
    content = json.loads(written)
    content["stages"]["export"], content["installed"] = "old", "old"
    out.write_text(json.dumps(content))
    stage.main(ROOT / "params.yaml", out)
    assert out.read_bytes() == written
    assert "other code for export" in capsys.readouterr().out


def test_files_of_installed_packages_count_by_their_record(monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = {"kind": "huggingface", "name": "package:some-weights/model"}
    params = {**PARAMS, "backbone": backbone, "task": {"kind": "text_classification"}}
    monkeypatch.setattr(fingerprint, "record_of", lambda name: f"{name} a")
    before = code_of(("pretrain", "tokenizer", "compare"), params)
    monkeypatch.setattr(fingerprint, "record_of", lambda name: f"{name} b")
    after = code_of(("pretrain", "tokenizer", "compare"), params)
    changed = {name for name in before["stages"] if after["stages"][name] != before["stages"][name]}
    assert {"pretrain", "tokenizer"} <= changed
    assert after["installed"] != before["installed"]
