import subprocess
from pathlib import Path

from tlpipe.tracking.versions import code_tags, dvc_tags, hardware_tags, source_tags

LOCK = """schema: '2.0'
stages:
  prepare:
    deps: [{path: data/raw, hash: md5, md5: aaa.dir}]
    outs: [{path: data/packed, hash: md5, md5: bbb.dir}]
  finetune@all_layers:
    deps: [{path: data/packed, hash: md5, md5: old.dir}]
    outs: [{path: models/finetuned/all_layers, hash: md5, md5: ccc.dir}]
"""


def _git(folder: Path, *arguments: str):
    identity = ["-c", "user.name=t", "-c", "user.email=t@t", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


def test_git_commit_and_dirty_flag(tmp_path: Path):
    _git(tmp_path, "init", "-b", "main")
    (tmp_path / "a").write_text("1")
    _git(tmp_path, "add", "a")
    _git(tmp_path, "commit", "-m", "one")
    clean = code_tags(tmp_path)
    assert len(clean["mlflow.source.git.commit"]) == 40
    assert (clean["git.dirty"], clean["mlflow.source.git.branch"]) == ("no", "main")
    (tmp_path / "a").write_text("2")
    assert code_tags(tmp_path)["git.dirty"] == "yes"


def test_without_git_there_is_still_a_version(tmp_path: Path):
    assert set(code_tags(tmp_path)) <= {"tlpipe.version", "mlflow.user"}


def test_dvc_hashes_prefer_outs(tmp_path: Path):
    lock = tmp_path / "dvc.lock"
    lock.write_text(LOCK)
    paths = [Path("data/raw"), Path("data/packed"), Path("models/finetuned/all_layers"), Path("unknown")]
    assert dvc_tags(paths, lock) == {
        "dvc.data/raw": "aaa.dir",
        "dvc.data/packed": "bbb.dir",
        "dvc.models/finetuned/all_layers": "ccc.dir",
    }
    assert dvc_tags(paths, tmp_path / "absent.lock") == {}


def test_hardware_and_source():
    tags = hardware_tags("cuda:0", "bf16")
    assert (tags["hardware.device"], tags["hardware.precision"]) == ("cuda:0", "bf16")
    assert "hardware.device" not in hardware_tags()
    assert source_tags("finetune@x")["mlflow.source.name"] == "dvc repro finetune@x"
