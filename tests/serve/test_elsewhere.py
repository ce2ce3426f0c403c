"""Slow: the bundle in other hands: a bare environment with the built wheel, and MLflow's own server."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.slow
HEAVY = ("torch", "torchvision", "transformers", "mlflow", "dvc", "onnx", "sklearn", "pyarrow", "matplotlib")


def uv() -> str:
    recorded = ROOT / ".venv" / ".uv"
    found = shutil.which("uv") or (recorded.read_text().strip() if recorded.is_file() else None)
    if found is None:
        pytest.skip("there is no uv to make an environment with")
    return found


def run(*command: object, **options: Any) -> str:
    done = subprocess.run([str(each) for each in command], capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh virtual environment with the built wheel and nothing that it does not ask for."""
    folder = tmp_path_factory.mktemp("plain")
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder, cwd=ROOT)
    run(uv(), "venv", "-q", "--python", sys.executable, folder / "venv")
    (wheel,) = folder.glob("tlpipe-*.whl")
    run(uv(), "pip", "install", "-q", "--python", folder / "venv", wheel)
    return folder / "venv" / "bin"


def test_the_plain_install_has_nothing_heavy(environment: Path):
    code = f"import importlib.util as u; print([name for name in {HEAVY} if u.find_spec(name)])"
    assert run(environment / "python", "-c", code).strip() == "[]"
    assert "can be used" in run(environment / "tlpipe", "doctor")
    assert (
        "tlpipe[train]"
        in subprocess.run(
            [environment / "tlpipe", "check", ROOT / "params.yaml"], capture_output=True, text=True, check=False
        ).stderr
    )


def test_the_plain_install_serves_and_predicts(
    environment: Path, bundle: Path, tmp_path: Path, png: Callable[[np.ndarray], bytes], serve: Any,
    pictures: list[np.ndarray],
):  # fmt: skip
    path = tmp_path / "a.png"
    path.write_bytes(png(pictures[0]))
    out = tmp_path / "out.jsonl"
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    run(environment / "tlpipe", "predict", bundle, path, "--out", out, "--device", "cpu", env=clean, cwd=tmp_path)
    with serve(bundle, tmp_path / "log", program=environment / "tlpipe") as server:
        status, content, _ = server.send("POST", "/predict", path.read_bytes())
        assert status == 200
        assert b"Drop images here" in server.send("GET", "/")[1]
        mapped = Path(f"/proc/{server.process.pid}/maps")
        assert not mapped.is_file() or "libtorch" not in mapped.read_text()
    assert content["predictions"][0] == {
        key: value for key, value in json.loads(out.read_text()).items() if key != "path"
    }


def test_mlflow_serves_the_registered_model(bundle: Path, tmp_path: Path, pictures: list[np.ndarray], graph: Any):
    save = (
        "import sys; from pathlib import Path; from mlflow.models import Model\n"
        "from tlpipe.tracking.models import _save_onnx\n"
        "_save_onnx(Path(sys.argv[1]), Path(sys.argv[2]), Model(), Path('absent.npy'))"
    )
    run(sys.executable, "-W", "ignore", "-c", save, bundle, tmp_path / "model", cwd=ROOT)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "mlflow",
        "models",
        "serve",
        "-m",
        str(tmp_path / "model"),
        "--env-manager",
        "local",
    ]
    command += ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    bins = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "PATH": bins}
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True)
    try:
        wait_for(f"http://127.0.0.1:{port}/ping", process, tmp_path / "log")
        body = json.dumps({"inputs": {"image": pictures[0][None].tolist()}}).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{port}/invocations", body)
        request.add_header("content-type", "application/json")
        with urllib.request.urlopen(request, timeout=60) as response:
            found = json.load(response)["predictions"]
        np.testing.assert_allclose(found["probabilities"], graph(pictures[0]), atol=1e-6)
    finally:
        os.killpg(process.pid, 9)
        process.wait()


def wait_for(url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    for _ in range(240):
        assert process.poll() is None, log.read_text()[-3000:]
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            time.sleep(0.5)
    raise AssertionError(log.read_text()[-3000:])
