"""Two machines train one model: a torchrun on each, as docs/speed.md says; here both are this machine."""

import shutil
import socket
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

pytestmark = pytest.mark.slow
STAGE = "finetune@all_layers"
ALONE = {
    "training.dropout": 0.0,  # each process draws its own
    "training.seeds": 1,
    "training.cache.views": 1,  # so that each machine writes what the frozen layers give
    "tracking.enabled": False,
}


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


def together(folders: list[Path], environment: dict[str, str], *module: str) -> None:
    """The documented command in each folder at once, all to their end."""
    place = f"127.0.0.1:{free_port()}"
    command = ["torchrun", "--nnodes", str(len(folders)), "--nproc-per-node", "1", "--rdzv-backend", "c10d"]
    command += ["--rdzv-endpoint", place, "-m", *module]
    agents = [
        subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        for folder in folders
    ]
    try:
        said = [agent.communicate(timeout=300)[0].decode() for agent in agents]
    finally:
        for agent in agents:
            agent.kill()
    assert [agent.returncode for agent in agents] == [0] * len(folders), "\n".join(said)


@pytest.mark.parametrize("shared", [True, False], ids=["one folder", "a copy each"])
def test_two_machines_give_what_one_gives(project: Any, tmp_path: Path, shared: bool) -> None:
    project.set(ALONE)
    project.repro(STAGE)
    model, report = Path("models/finetuned/all_layers"), Path("reports/training/all_layers")
    alone = load_file(project.folder / model / "model.safetensors")
    for made in (model, report, Path("models/seeds/all_layers"), Path(".tlpipe/cache")):
        shutil.rmtree(project.folder / made)
    folders = [project.folder, project.folder]
    if not shared:
        folders[1] = tmp_path / "another machine"
        shutil.copytree(project.folder, folders[1], symlinks=True)
    together(folders, project.environment, "tlpipe.stages", "finetune", "all_layers")
    written = [folder for folder in folders if (folder / model).is_dir()]
    assert len(written) == (2 if shared else 1)
    found = load_file(written[0] / model / "model.safetensors")
    assert found.keys() == alone.keys()
    for name, value in alone.items():
        assert np.allclose(value, found[name], atol=1e-3), name
    assert "2 processes" in (written[0] / report / "timing.json").read_text()
    if shared:
        together(folders, project.environment, "tlpipe.stages", "evaluate", "all_layers")
        project.run("dvc", "commit", "-f", STAGE, "evaluate@all_layers")
        assert project.repro("evaluate@all_layers") == []
