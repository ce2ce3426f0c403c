"""The servers that take turns, each a process group of its own with the same graph and number of threads."""

import base64
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil

from benchmarks.peers.environment import python_of
from benchmarks.serve.load import closed, post, tensor
from benchmarks.serve.pictures import Sample
from tlpipe.cores import usable_cores
from tlpipe.serve.runtime.batcher import MOST
from tlpipe.serve.runtime.providers import PACKAGES

HERE = Path(__file__).parent
CONTENDERS = ("tlpipe", "mlserver", "bentoml", "litserve")
BATCH, DELAY = MOST["cpu"], 0.002
"""Most samples a call on all threads, the fastest number here, and most seconds to wait for it; tlpipe's defaults."""
START = 120.0
"""Seconds for a server to answer its first request."""


@dataclass
class Running:
    """A server that answers."""

    port: int
    tensors: bytes
    """A request with the pixels of one image, in the leanest form that the server takes."""
    files: bytes
    """A request with the JPEG file of the same image."""
    process: psutil.Process

    def processes(self) -> list[psutil.Process]:
        """It and all that it started."""
        return [self.process, *self.process.children(recursive=True)]

    def cpu_seconds(self) -> float:
        """Used so far."""
        return float(sum(sum(each.cpu_times()[:2]) for each in self.processes()))

    def memory(self) -> int:
        """Resident bytes: those of a single process, or what several hold together with shared pages counted once."""
        found = self.processes()
        return int(found[0].memory_info().rss if len(found) == 1 else sum(_share(each) for each in found))


def _share(process: psutil.Process) -> int:
    """Its part of the memory (PSS)."""
    return int(process.memory_full_info().pss)


@contextmanager
def running(name: str, bundle: Path, sample: Sample, *options: str) -> Iterator[Running]:
    """A server from its start to its end. Raises NotInstalled or RuntimeError when it cannot start."""
    port = _free()
    with TemporaryDirectory() as folder, (Path(folder) / "log").open("w+b") as log:
        command = _command(name, bundle, port, Path(folder), options)
        environment = {**os.environ, **_settings(name, bundle, port, sample)}
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, cwd=folder, start_new_session=True)
        server = Running(port, *requests(name, sample), psutil.Process(process.pid))
        try:
            _wait(server, process, Path(folder) / "log")
            yield server
        finally:
            _end(server, process)


def requests(name: str, sample: Sample) -> tuple[bytes, bytes]:
    """One image as pixels and as a file, in the form that this server takes."""
    if name == "tlpipe":
        return tensor(sample.pixels), post("/predict", sample.jpeg, {"content-type": "image/jpeg"})
    make = {"mlserver": _open_inference, "bentoml": _json, "litserve": _multipart}[name]
    return make(sample.pixels.tobytes()), make(sample.jpeg)


def _open_inference(image: bytes) -> bytes:
    text = base64.b64encode(image).decode()
    entry = {"name": "image", "shape": [1, 1], "datatype": "BYTES", "parameters": {"content_type": "base64"}}
    body = json.dumps({"inputs": [entry | {"data": [text]}]}).encode()
    return post("/v2/models/model/infer", body, {"content-type": "application/json"})


def _json(image: bytes) -> bytes:
    body = json.dumps({"images": [base64.b64encode(image).decode()]}).encode()
    return post("/predict", body, {"content-type": "application/json"})


def _multipart(image: bytes) -> bytes:
    head = b'--part\r\nContent-Disposition: form-data; name="content"; filename="a"\r\n'
    body = head + b"Content-Type: application/octet-stream\r\n\r\n" + image + b"\r\n--part--\r\n"
    return post("/predict", body, {"content-type": "multipart/form-data; boundary=part"})


def _command(name: str, bundle: Path, port: int, folder: Path, options: tuple[str, ...]) -> list[str]:
    if name == "tlpipe":
        code = "from tlpipe.cli import main; main()"
        own = [sys.executable, "-c", code, "serve", str(bundle.resolve()), "--port", str(port), "--device", "cpu"]
        return [*own, "--max-delay", str(DELAY), "--no-requests-log", *options]
    bins = python_of(name, HERE / "requirements", _shared()).parent
    if name == "mlserver":
        _write_mlserver(folder, port)
        return [str(bins / "mlserver"), "start", str(folder)]
    if name == "bentoml":
        where = ["--host", "127.0.0.1", "--port", str(port), "--working-dir", str(HERE / "peers")]
        return [str(bins / "bentoml"), "serve", "with_bentoml:Model", *where]
    return [str(bins / "python"), str(HERE / "peers/with_litserve.py")]


def _write_mlserver(folder: Path, port: int) -> None:
    ports = {"http_port": port, "grpc_port": _free(), "metrics_port": _free()}
    settings = {"host": "127.0.0.1", "debug": False, **ports}
    model = {"name": "model", "implementation": "with_mlserver.Model", "max_batch_size": BATCH, "max_batch_time": DELAY}
    (folder / "settings.json").write_text(json.dumps(settings))
    (folder / "model-settings.json").write_text(json.dumps(model))


def _free() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _shared() -> list[str]:
    """The onnxruntime of this process, and what feeds it: servers are compared, not versions of those."""
    found = ["numpy", "pillow"]
    for name in PACKAGES:
        with suppress(PackageNotFoundError):
            version(name)
            found.append(name)
    return found


def _settings(name: str, bundle: Path, port: int, sample: Sample) -> dict[str, str]:
    given = {
        "PORT": port, "BATCH": BATCH, "DELAY": DELAY, "THREADS": usable_cores(), "EDGE": sample.pixels.shape[0],
        "MODEL": (bundle / "model.onnx").resolve(),
    }  # fmt: skip
    found = {f"BENCH_{name}": str(value) for name, value in given.items()}
    return found | {"BENTOML_DO_NOT_TRACK": "true"} | ({} if name == "tlpipe" else {"PYTHONPATH": str(HERE / "peers")})


def _wait(server: Running, process: "subprocess.Popen[bytes]", log: Path) -> None:
    end, failures = time.monotonic() + START, None
    while process.poll() is None and time.monotonic() < end:
        with suppress(ConnectionRefusedError):
            outcome = closed(server.port, server.tensors, 1, 0)
            if outcome.latencies:
                return
            failures = dict(outcome.failures)
        time.sleep(0.1)
    raise RuntimeError(f"the server did not start: {failures}\n{log.read_text(errors='replace')[-2000:]}")


def _end(server: Running, process: "subprocess.Popen[bytes]") -> None:
    """Ask for the end; kill what is left of its processes, those with sessions of their own too."""
    left = server.processes() if process.poll() is None else []
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    _, left = psutil.wait_procs(left, timeout=10)
    for each in left:
        with suppress(psutil.NoSuchProcess):
            each.kill()
    process.wait()
