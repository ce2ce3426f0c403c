"""A small bundle with weights that tell the images apart, pictures for it, and what the graph itself answers."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image

from tlpipe.backbones.letters import Letters
from tlpipe.bundle import Bundle, write_bundle
from tlpipe.export.onnx import onnx_model
from tlpipe.export.spec import Export
from tlpipe.export.write import describe
from tlpipe.preprocess.image import ImagePreprocess
from tlpipe.strategies.plan import Plan
from tlpipe.tasks.union import ImageClassification
from tlpipe.train.model import About, Classifier, save_model

LABELS = ("ant", "bee", "größe", "wasp")
SIZES = [(40, 50), (37, 37), (21, 90), (64, 33), (90, 60)]


def make_model(seed: int, labels: tuple[str, ...] = LABELS) -> tuple[Classifier, About]:
    """Random weights that tell images apart."""
    about = About(
        strategy="all_layers", run_key="0" * 64, task=ImageClassification(), backbone=Letters(width=4),
        preprocess=ImagePreprocess(size=32, resize_to=37, mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3)),
        labels=labels, dropout=0.2, temperature=1.7, validation={},
        plan=Plan(strategy="all_layers", start="head", groups=(), phases=()),
        total_parameters=1, trainable_parameters=1,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        encoder = about.backbone.encoder()
        model = Classifier(encoder, about.task.head(encoder.feature_dim, len(labels), about.dropout))
        model.head[1].weight.mul_(20)
    return model.eval(), about


def make_bundle(folder: Path, seed: int, labels: tuple[str, ...] = LABELS) -> Bundle:
    """A bundle that tlpipe's exporter made of random weights; without the gate, which other tests hold."""
    model, about = make_model(seed, labels)
    content = onnx_model(model, about, 20).SerializeToString(deterministic=True)
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(content)
    bundle = describe(folder / "model.onnx", about, {}, [], Export())
    write_bundle(folder, bundle)
    return bundle


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("serve") / "bundle"
    make_bundle(folder, 0)
    return folder


@pytest.fixture(scope="session")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another version: other weights, other labels."""
    folder = tmp_path_factory.mktemp("other") / "bundle"
    make_bundle(folder, 1, ("red", "green", "blue", "white"))
    return folder


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    """A model folder as training leaves it."""
    save_model(tmp_path / "trained", *make_model(0))
    return tmp_path / "trained"


@pytest.fixture(scope="session")
def pictures() -> list[np.ndarray]:
    """Smooth RGB images of several sizes."""
    generator = np.random.default_rng(0)
    made = []
    for height, width in SIZES:
        rows, columns = np.mgrid[:height, :width, :1][:2] / 10.0
        waves = np.sin(rows * generator.uniform(0.2, 2, 3) + columns * generator.uniform(0.2, 2, 3))
        made.append(np.uint8(np.clip(127 + 100 * waves + generator.normal(0, 20, (height, width, 3)), 0, 255)))
    return made


@pytest.fixture(scope="session")
def png() -> Callable[[np.ndarray], bytes]:
    """The bytes of a PNG file of RGB pixels."""

    def save(image: np.ndarray) -> bytes:
        file = BytesIO()
        Image.fromarray(image).save(file, "PNG")
        return file.getvalue()

    return save


@pytest.fixture(scope="session")
def graph(bundle: Path) -> Callable[[np.ndarray], np.ndarray]:
    """Probabilities of one image or a batch, by onnxruntime alone."""
    session = onnxruntime.InferenceSession(bundle / "model.onnx", providers=["CPUExecutionProvider"])
    return lambda image: session.run(["probabilities"], {"image": image if image.ndim == 4 else image[None]})[0]


@dataclass
class Running:
    """A real server in a process of its own."""

    process: subprocess.Popen[bytes]
    log: Path
    port: int

    def send(
        self, method: str, path: str, body: bytes | str | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, Any, dict[str, str]]:
        """(status, the JSON or bytes of the answer, headers) over a connection of its own."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=120)
        try:
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            content = response.read()
            found = {name.lower(): value for name, value in response.getheaders()}
            is_json = found.get("content-type") == "application/json"
            return response.status, json.loads(content) if is_json else content, found
        finally:
            connection.close()

    def lines(self) -> list[dict[str, Any]]:
        """The log so far."""
        return [json.loads(line) for line in self.log.read_text(encoding="utf-8").splitlines() if line.endswith("}")]

    def wait_for(self, value: str, seconds: float = 240, field: str = "message") -> dict[str, Any]:
        """The first log line that has this value there."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for line in self.lines():
                if line.get(field) == value:
                    return line
            if self.process.poll() is not None:
                break
            time.sleep(0.05)
        raise AssertionError(f"no {value!r} in the log:\n{self.log.read_text()}")

    def stop(self, how: int = signal.SIGTERM) -> int:
        """Send a signal and wait for the end."""
        self.process.send_signal(how)
        return self.process.wait(120)


@contextmanager
def running(bundle: Path, log: Path, *options: object, program: Path | None = None) -> Iterator[Running]:
    """`tlpipe serve` on a free port; `program` is another environment's tlpipe."""
    start = [program] if program else [sys.executable, "-c", "from tlpipe.cli import main; main()"]
    command = [*start, "serve", bundle, "--port", 0, "--device", "cpu", "--threads", 1, *options]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with log.open("wb") as file:
        process = subprocess.Popen([str(each) for each in command], stderr=file, env=environment)
    try:
        server = Running(process, log, 0)
        server.port = int(server.wait_for("listening")["url"].rsplit(":", 1)[1])
        yield server
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="session")
def server(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server that tests share: small limits, so that they can be reached."""
    log = tmp_path_factory.mktemp("server") / "log"
    options = ("--max-body", 2_000_000, "--max-pixels", 1_000_000, "--max-items", 4, "--body-seconds", 1, "--drain", 0)
    with running(bundle, log, *options) as started:
        yield started


@pytest.fixture(scope="module")
def own_server(
    request: pytest.FixtureRequest, served: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Running]:
    """A server for `served`, the bundle that the test module makes, with the module's OPTIONS."""
    log, options = tmp_path_factory.mktemp("server") / "log", getattr(request.module, "OPTIONS", ())
    with running(served, log, "--drain", 0, *options) as started:
        yield started


@pytest.fixture(scope="session")
def serve() -> Callable[..., AbstractContextManager[Running]]:
    """A server with options of the test's own."""
    return running
