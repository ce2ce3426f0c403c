"""Slow: the bundle in other hands: a bare environment with the built wheel, and MLflow's own server."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch

from tests.bundles import TEXTS, make_bundle_of
from tlpipe.bundle import read_bundle
from tlpipe.preprocess.text import Tokenizer
from tlpipe.train.model import load_model

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
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is published, built."""
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder, cwd=ROOT)
    (built,) = folder.glob("tlpipe-*.whl")
    return built


def install(folder: Path, what: object) -> Path:
    """A fresh virtual environment with `what` and nothing that it does not ask for; its programs."""
    run(uv(), "venv", "-q", "--python", sys.executable, folder / "venv")
    run(uv(), "pip", "install", "-q", "--python", folder / "venv", what)
    return folder / "venv" / "bin"


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install(tmp_path_factory.mktemp("plain"), wheel)


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


def test_the_training_install_has_the_rest(wheel: Path, tmp_path: Path):
    bins = install(tmp_path, f"{wheel}[train]")
    code = f"import importlib.util as u; print([name for name in {HEAVY} if not u.find_spec(name)])"
    assert run(bins / "python", "-c", code).strip() == "[]"
    shutil.copyfile(ROOT / "params.yaml", tmp_path / "params.yaml")
    assert "params.yaml: ok" in run(bins / "tlpipe", "check", "params.yaml", cwd=tmp_path)
    train = (
        "import tlpipe, tlpipe.train.trainer.loop, tlpipe.export.write, tlpipe.report.render; print(tlpipe.__file__)"
    )
    assert str(tmp_path) in run(bins / "python", "-c", train, cwd=tmp_path)


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


SAVE = (
    "import sys; from pathlib import Path; from mlflow.models import Model\n"
    "from tlpipe.tracking.models import _save_onnx\n"
    "_save_onnx(Path(sys.argv[1]), Path(sys.argv[2]), Model(), Path('absent.npy'))"
)


def test_mlflow_serves_an_exported_model_of_texts(tmp_path: Path):
    bundle = make_bundle_of("text_classification", tmp_path)
    run(sys.executable, "-W", "ignore", "-c", SAVE, bundle, tmp_path / "model", cwd=ROOT)
    preprocess = read_bundle(bundle).preprocessing
    feeds = Tokenizer(tmp_path / "model" / "tokenizer.json", preprocess)([(text,) for text in TEXTS])
    with mlflow_serve(tmp_path / "model", tmp_path) as ask:
        found = ask({name: rows.tolist() for name, rows in feeds.items()})
    expected = onnxruntime.InferenceSession(bundle / "model.onnx").run(["probabilities"], feeds)[0]
    np.testing.assert_allclose(found["probabilities"], expected, atol=1e-6)


def test_mlflow_serves_the_exported_model(bundle: Path, tmp_path: Path, pictures: list[np.ndarray], graph: Any):
    run(sys.executable, "-W", "ignore", "-c", SAVE, bundle, tmp_path / "model", cwd=ROOT)
    with mlflow_serve(tmp_path / "model", tmp_path) as ask:
        found = ask({"image": pictures[0][None].tolist()})
    np.testing.assert_allclose(found["probabilities"], graph(pictures[0]), atol=1e-6)


REGISTER = """
import sys
from pathlib import Path
import numpy as np
from tlpipe.tracking import Journal, RunPayload, ensure_run, registry_said

root, key = Path(".tlpipe/runs"), "0" * 64
journal = Journal.open(key, "all_layers", "digits", root)
journal.summary({"test/accuracy": 0.9})
journal.model(Path(sys.argv[1]), np.zeros((1, 40, 50, 3), np.uint8))
journal.end()
claim = {"evidence": "f" * 64, "metric": "accuracy", "value": 0.9, "higher_is_better": True, "kind": "image"}
ensure_run(RunPayload(run_key=key, name="all_layers", champion=claim), "digits", 240.0, root)
print(registry_said(key, root))
"""


def test_mlflow_serves_the_champion_from_the_registry(trained: Path, tmp_path: Path, pictures: list[np.ndarray]):
    project = tmp_path / "project"
    project.mkdir()
    said = run(sys.executable, "-W", "ignore", "-c", REGISTER, trained, cwd=project)
    assert "version 1 of 'digits' has the alias 'champion' now" in said
    with mlflow_serve("models:/digits@champion", project, MLFLOW_TRACKING_URI="sqlite:///mlflow.db") as ask:
        found = ask(np.stack([pictures[0], pictures[0][::-1]]).tolist())
    model, about = load_model(trained)
    batch = torch.from_numpy(about.preprocess.batch(np.stack([pictures[0], pictures[0][::-1]])))
    with torch.no_grad():
        expected = (model(batch) / about.temperature).softmax(1).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5)


@contextmanager
def mlflow_serve(model: object, folder: Path, **settings: str) -> Iterator[Callable[[Any], Any]]:
    """`mlflow models serve` on `model`, run in `folder`; a function that sends inputs and gives the predictions."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", str(model), "--env-manager", "local"]
    command += ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    bins = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "PATH": bins, **settings}
    environment["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, cwd=folder, start_new_session=True)

    def ask(inputs: Any) -> Any:
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/invocations", json.dumps({"inputs": inputs}).encode()
        )
        request.add_header("content-type", "application/json")
        with urllib.request.urlopen(request, timeout=240) as response:
            return json.load(response)["predictions"]

    try:
        wait_for(f"http://127.0.0.1:{port}/ping", process, folder / "log")
        yield ask
    finally:
        os.killpg(process.pid, 9)
        process.wait()


def wait_for(url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    for _ in range(1200):  # importing torch and mlflow takes minutes on a machine that does other things
        assert process.poll() is None, log.read_text()[-3000:]
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            time.sleep(0.5)
    raise AssertionError(log.read_text()[-3000:])
