"""The process: its end, its change of bundle, its door, its refusals under load."""

import asyncio
import json
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import urllib.request
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from tlpipe.bundle import digest, read_bundle
from tlpipe.serve.http import hot_swap as model
from tlpipe.serve.http.metrics import Metrics
from tlpipe.serve.http.server import is_local
from tlpipe.serve.http.settings import Settings
from tlpipe.serve.runtime.session import Runtime

Png = Callable[[np.ndarray], bytes]
Serve = Callable[..., Any]


def hammer(port: int, raw: bytes, stop: threading.Event) -> Counter[Any]:
    """Send one image after the other over a connection that is kept; statuses, versions, connections, what failed."""
    seen: Counter[Any] = Counter()
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    while not stop.is_set():
        fresh = connection.sock is None
        try:
            if fresh:
                connection.connect()
                seen["connections"] += 1
            connection.request("POST", "/predict", raw)
            response = connection.getresponse()
            content = json.loads(response.read())
            seen[response.status, content.get("version")] += 1
            if response.will_close:
                connection.close()
        except ConnectionRefusedError:
            break
        except (OSError, HTTPException) as error:
            # A server may close a kept connection over which nothing is asked; clients ask again (RFC 9112, 9.3.1).
            seen["unanswered" if fresh else "closed while idle", repr(error)] += 1
            connection.close()
    connection.close()
    return seen


def swap(folder: Path, new: Path) -> None:
    """Put another bundle in the place of the one in `folder`, as the export does."""
    building = folder.with_name("building")
    shutil.copytree(new, building)
    folder.rename(folder.with_name("old"))
    building.rename(folder)
    shutil.rmtree(folder.with_name("old"))


@pytest.mark.parametrize("how", ["signal", "watch"])
def test_a_new_bundle_is_served_without_a_failed_request(
    serve: Serve, bundle: Path, other: Path, tmp_path: Path, png: Png, pictures: list[np.ndarray], how: str
):
    folder = tmp_path / "bundle"
    shutil.copytree(bundle, folder)
    stop = threading.Event()
    options = ("--watch", 0.05) if how == "watch" else ()
    with serve(folder, tmp_path / "log", *options) as server, ThreadPoolExecutor(3) as pool:
        clients = [pool.submit(hammer, server.port, png(pictures[0]), stop) for _ in range(3)]
        try:
            swap(folder, other)
            if how == "signal":
                server.process.send_signal(signal.SIGHUP)
            newest = read_bundle(other).version
            while server.send("POST", "/predict", png(pictures[0]))[1]["version"] != newest:
                assert server.process.poll() is None
        finally:
            stop.set()
        seen = sum((client.result() for client in clients), Counter())
        assert {key[0] for key in seen if key != "connections"} == {200}
        assert server.send("POST", "/predict", png(pictures[0]))[1]["predictions"][0]["label"] in {
            "red", "green", "blue", "white",
        }  # fmt: skip


def test_a_bundle_with_the_same_weights_and_other_labels_is_another_version(
    serve: Serve, bundle: Path, tmp_path: Path, png: Png, pictures: list[np.ndarray]
):
    folder = tmp_path / "bundle"
    shutil.copytree(bundle, folder)
    with serve(folder, tmp_path / "log") as server:
        before = server.send("POST", "/predict", png(pictures[0]))[1]
        about = json.loads((folder / "bundle.json").read_text())
        about["labels"] = [f"new {label}" for label in about["labels"]]
        graph = onnx.load(folder / "model.onnx")
        onnx.helper.set_model_props(graph, {"labels": json.dumps(about["labels"], ensure_ascii=False)})
        onnx.save(graph, folder / "model.onnx")
        about["sha256"]["model.onnx"] = digest(folder / "model.onnx")
        del about["digest"]
        (folder / "bundle.json").write_text(json.dumps(about))
        server.process.send_signal(signal.SIGHUP)
        server.wait_for("loaded")
        while (after := server.send("POST", "/predict", png(pictures[0]))[1])["version"] == before["version"]:
            assert server.process.poll() is None
        assert after["predictions"][0]["label"] == f"new {before['predictions'][0]['label']}"


def test_a_bad_new_bundle_is_not_served(serve: Serve, bundle: Path, tmp_path: Path, png: Png):
    folder = tmp_path / "bundle"
    shutil.copytree(bundle, folder)
    with serve(folder, tmp_path / "log") as server:
        (folder / "model.onnx").write_bytes(b"broken")
        server.process.send_signal(signal.SIGHUP)
        assert "is not the file that was exported" in server.wait_for("the new bundle is not served")["reason"]
        assert server.send("POST", "/predict", png(np.zeros((9, 9, 3), np.uint8)))[0] == 200
        assert b'tlpipe_reloads_total{outcome="failed"} 1' in server.send("GET", "/metrics")[1]


@pytest.mark.parametrize(("how", "error"), [("watch", OSError), ("watch", MemoryError), ("signal", RuntimeError)])
def test_whatever_a_reload_fails_with_is_logged_and_counted_and_the_next_bundle_is_served(
    bundle: Path, other: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any, how: str, error: Any
):
    folder = tmp_path / "bundle"
    shutil.copytree(bundle, folder)
    failing = [error("out of luck")] * 2

    def load(*arguments: Any) -> Any:
        if loaded and failing:
            raise failing.pop()
        loaded.append(real(*arguments))
        return loaded[-1]

    loaded: list[Any] = []
    real, metrics = model.load, Metrics()
    monkeypatch.setattr(model, "load", load)

    async def served() -> str:
        holder = model.Model(Settings(bundle=folder, runtime=Runtime(device="cpu", threads=1), watch=0.01), metrics)
        await holder.load()
        swap(folder, other)
        watcher = asyncio.create_task(holder.watch() if how == "watch" else signals(holder))
        while holder.now.loaded.version != read_bundle(other).version:
            assert not watcher.done(), watcher
            await asyncio.sleep(0.01)
        watcher.cancel()
        await holder.close()
        return metrics.text().decode()

    async def signals(holder: model.Model) -> None:
        while True:
            await holder.reload()

    with caplog.at_level("ERROR", "tlpipe.serve"):
        text = asyncio.run(served())
    assert 'tlpipe_reloads_total{outcome="failed"} 2' in text
    assert [record.reason for record in caplog.records] == [f"{error.__name__}: out of luck"] * 2
    assert all(record.exc_info for record in caplog.records)


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("127.0.0.1", True), ("127.3.2.1", True), ("::1", True), ("localhost", True),
        ("0.0.0.0", False), ("::", False), ("10.0.0.1", False), ("", False), ("no.such.host.invalid", False),
    ],
)  # fmt: skip
def test_which_addresses_other_machines_can_reach(host: str, local: bool):
    assert is_local(host) is local


def test_the_end_loses_nothing_that_was_accepted(
    serve: Serve, bundle: Path, tmp_path: Path, png: Png, pictures: list[np.ndarray]
):
    with serve(bundle, tmp_path / "log", "--drain", 0.5) as server, ThreadPoolExecutor(4) as pool:
        clients = [pool.submit(hammer, server.port, png(pictures[0]), threading.Event()) for _ in range(4)]
        asked = 1
        server.send("GET", "/v2/health/ready")
        server.process.send_signal(signal.SIGTERM)
        with suppress(OSError, HTTPException):
            while True:
                status, _, headers = server.send("GET", "/v2/health/ready")
                asked += 1
                assert status == 200 or headers["connection"] == "close"
        assert server.process.wait(120) in (0, -signal.SIGTERM)
        seen = sum((client.result() for client in clients), Counter())
        ended = server.wait_for("ended")
    unanswered = sum(count for key, count in seen.items() if key[0] == "unanswered")
    statuses = {key[0] for key in seen} - {"c", "unanswered", "closed while idle"}
    assert statuses == {200}
    # Whoever has no answer was never let in: the kernel completed the connection while the door was being closed.
    assert seen["connections"] - unanswered == ended["connections"] - asked


def test_a_server_about_to_end_says_so_and_still_answers(serve: Serve, bundle: Path, tmp_path: Path, png: Png):
    with serve(bundle, tmp_path / "log", "--drain", 600) as server:
        server.process.send_signal(signal.SIGTERM)
        while server.send("GET", "/v2/health/ready")[0] == 200:
            assert server.process.poll() is None
        status, _, headers = server.send("POST", "/predict", png(np.zeros((9, 9, 3), np.uint8)))
        assert (status, headers["connection"]) == (200, "close")


def test_who_was_let_in_and_has_not_spoken_is_heard_out(serve: Serve, bundle: Path, tmp_path: Path):
    with serve(bundle, tmp_path / "log", "--drain", 0) as server:
        connections = [socket.create_connection(("127.0.0.1", server.port), timeout=60) for _ in range(2)]
        connections[1].sendall(b"GET /v2 HT")
        server.send("GET", "/v2/health/live")  # those before it are in
        server.process.send_signal(signal.SIGTERM)
        with suppress(OSError, HTTPException):
            while True:
                server.send("GET", "/v2/health/live")
        connections[0].sendall(b"GET /v2 HTTP/1.1\r\nhost: a\r\n\r\n")
        connections[1].sendall(b"TP/1.1\r\nhost: a\r\n\r\n")
        for connection in connections:
            with connection, connection.makefile("rb") as answer:
                assert b" 200 " in answer.readline()
        assert server.process.wait(120) in (0, -signal.SIGTERM)


def test_a_full_queue_is_503_with_retry_after(
    serve: Serve, bundle: Path, tmp_path: Path, png: Png, pictures: list[np.ndarray]
):
    with serve(bundle, tmp_path / "log", "--queue", 1) as server, ThreadPoolExecutor(24) as pool:
        raw = png(pictures[4])
        found = list(pool.map(lambda _: server.send("POST", "/predict", raw), range(240)))
    assert {status for status, _, _ in found} == {200, 503}
    refused = [(content, headers) for status, content, headers in found if status == 503]
    assert all(
        "the queue is full" in content["error"] and headers["retry-after"] == "1" for content, headers in refused
    )


def test_an_answer_that_takes_too_long_is_503(serve: Serve, bundle: Path, tmp_path: Path):
    options = ("--answer-seconds", 0.01, "--max-batch", 64, "--queue", 10_000)
    image = np.zeros((64, 400, 300, 3), np.uint8)
    head = {"inputs": [{"name": "image", "datatype": "UINT8", "shape": list(image.shape)}]}
    head["inputs"][0]["parameters"] = {"binary_data_size": image.nbytes}
    text = json.dumps(head).encode()
    headers = {"Inference-Header-Content-Length": str(len(text))}
    body = text + image.tobytes()
    with serve(bundle, tmp_path / "log", *options) as server, ThreadPoolExecutor(6) as pool:
        # Several, as a call of the graph may be over before a busy machine lets the clock be looked at.
        found = list(pool.map(lambda _: server.send("POST", "/v2/models/model/infer", body, headers), range(6)))
        late = [content for status, content, _ in found if status == 503]
        assert late
        assert all(content == {"error": "no answer within 0.01 s; try again"} for content in late)
        assert server.send("GET", "/v2/health/live")[0] == 200


def test_the_token_is_asked_for(serve: Serve, bundle: Path, tmp_path: Path, png: Png):
    raw = png(np.zeros((9, 9, 3), np.uint8))
    with serve(bundle, tmp_path / "log", "--token", "open sesame") as server:
        for given in (None, "Bearer wrong", "open sesame", "Basic open sesame"):
            headers = {"authorization": given} if given else {}
            status, content, _ = server.send("POST", "/predict", raw, headers)
            assert status == 401
            assert "Authorization: Bearer" in content["error"]
        assert server.send("GET", "/metrics")[0] == 401
        assert server.send("POST", "/predict", raw, {"authorization": "Bearer open sesame"})[0] == 200
        assert [server.send("GET", path)[0] for path in ("/", "/v2/health/live", "/v2/health/ready")] == [200] * 3
        assert server.send("GET", "/openapi.json")[1]["security"] == [{"token": []}]
        assert "sesame" not in server.log.read_text()


def test_tls(serve: Serve, bundle: Path, tmp_path: Path):
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl to make a certificate with")
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    names = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*command, *names], check=True, capture_output=True)
    with serve(bundle, tmp_path / "log", "--certificate", certificate, "--key", key) as server:
        url = server.wait_for("listening")["url"]
        assert url.startswith("https://")
        trust = ssl.create_default_context(cafile=str(certificate))
        with urllib.request.urlopen(f"{url}/v2/health/live", context=trust) as response:
            assert json.load(response) == {"live": True}


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--device", "cuda"), "cuda was asked for and cannot be used"),
        (("--certificate", "absent.pem"), "absent.pem does not exist"),
        (("--name", "a b"), "text that matches"),
        (("--token", ""), "token"),
        (("--host", "203.0.113.1", "--insecure"), "cannot be listened on"),
        (("--host", "0.0.0.0"), "give --token (or TLPIPE_TOKEN), listen on 127.0.0.1, or say --insecure"),
    ],
)
def test_what_cannot_be_served_is_a_message(bundle: Path, options: tuple[str, ...], sentence: str):
    from tlpipe.serve.runtime.providers import obstacles

    if "cuda" in options and not obstacles("cuda"):
        pytest.skip("this machine has a GPU")
    code = "from tlpipe.cli import main; main()"
    command = [sys.executable, "-c", code, "serve", bundle, "--port", "0", *options]
    done = subprocess.run([str(each) for each in command], capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_a_server_without_requests_uses_no_processor(serve: Serve, bundle: Path, tmp_path: Path):
    psutil = pytest.importorskip("psutil")
    with serve(bundle, tmp_path / "log") as server:
        process = psutil.Process(server.process.pid)
        before = sum(process.cpu_times()[:2])
        threading.Event().wait(3)
        assert sum(process.cpu_times()[:2]) - before <= 0.03 * 2
