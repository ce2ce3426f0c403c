"""Whole processes: MLflow down, hanging, killed, late. What training sees of it must be nothing."""

import http.server
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tlpipe.locks import held
from tlpipe.tracking import (
    Journal,
    RunPayload,
    Tracking,
    ensure_run,
    flush,
    flush_in_background,
    launch,
    start_publisher,
    wait,
)
from tlpipe.tracking.launch import reachable
from tlpipe.tracking.outbox import PUBLISHER_LOCK

POINTS = [("test/accuracy", 0, 0.9), ("train_loss", 0, 1.0), ("train_loss", 1, 0.5), ("train_loss", 2, 1 / 3)]
PATIENCE = 180.0


@contextmanager
def healthy_but_hanging():
    """A server that says it is well and answers nothing else, like a database that is stuck behind it."""
    release = threading.Event()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            if self.path != "/health":
                release.wait(60)
                return
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_POST = do_GET  # noqa: N815  # the name is http.server's

        def log_message(self, *_: object):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        release.set()
        server.shutdown()
        server.server_close()


def _kill_children():
    for child in launch._children:
        if child.poll() is None:
            child.kill()
        child.wait()


@pytest.fixture(autouse=True)
def no_leftovers():
    yield
    _kill_children()


def _train(journal: Journal, epochs: int = 5, seconds: float = 0.0):
    """A training as tracking sees it; returns the longest that any call took, seconds."""
    longest = 0.0
    for epoch in range(epochs):
        time.sleep(seconds)
        before = time.perf_counter()
        journal.metrics(epoch, {"loss": 1.0 / (epoch + 1)})
        longest = max(longest, time.perf_counter() - before)
    before = time.perf_counter()
    journal.end()
    return max(longest, time.perf_counter() - before)


def test_reachability(servers: SimpleNamespace):
    assert reachable("sqlite:///x.db")
    assert not reachable(f"http://127.0.0.1:{servers.free_port()}")
    with servers.hanging() as uri:
        assert not reachable(uri, seconds=0.3)
    with healthy_but_hanging() as uri:
        assert reachable(uri)


def test_a_hanging_server_costs_training_nothing(root: Path, servers: SimpleNamespace, monkeypatch: pytest.MonkeyPatch):
    with servers.hanging() as uri:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        before = time.perf_counter()
        journal = Tracking(experiment="digits").journal("k1", "s")
        opened = time.perf_counter() - before
        assert _train(journal) < 0.1
        assert opened < 1.0
        assert not wait("k1", 0.3, root)


def test_tracking_imports_no_mlflow_and_no_torch():
    script = "import sys, tlpipe.tracking; print({'mlflow', 'torch', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_switched_off_leaves_no_trace(root: Path):
    journal = Tracking(enabled=False).journal("k1", "s")
    journal.metrics(0, {"loss": 1.0})
    journal.end()
    assert not root.exists()


@pytest.mark.slow
def test_curves_are_live_and_the_publisher_ends_by_itself(root: Path, look: SimpleNamespace):
    store = root.parents[1] / "mlflow.db"
    journal = Tracking(experiment="digits").journal("k1", "all_layers")
    deadline, epoch = time.monotonic() + PATIENCE, 0
    while not look.points(store):
        assert time.monotonic() < deadline
        journal.metrics(epoch, {"loss": 1.0})
        epoch += 1
        time.sleep(0.5)
    assert [run[2] for run in look.runs(store)] == ["RUNNING"]
    journal.end()
    assert wait("k1", PATIENCE, root)
    assert [run[2] for run in look.runs(store)] == ["FINISHED"]
    assert len(look.points(store)) == epoch
    assert launch._children[-1].wait(30) == 0


@pytest.mark.slow
def test_down_at_first_then_up_published_once(
    root: Path,
    tmp_path: Path,
    record: Callable[..., None],
    servers: SimpleNamespace,
    look: SimpleNamespace,
    monkeypatch: pytest.MonkeyPatch,
    model: Path,
):
    port = servers.free_port()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
    record(root, model=model)
    report = flush(root, timeout=PATIENCE)
    assert report.published == ()
    assert "nothing answers" in report.waiting["all_layers (k1)"]
    with servers.mlflow(tmp_path, port):
        assert flush_in_background(root) == 1
        assert wait("k1", PATIENCE, root)
        assert flush(root) == launch.Report((), {})
        payload = RunPayload(run_key="k1", name="all_layers")
        first = ensure_run(payload, "digits", PATIENCE, root)
        assert first == ensure_run(payload, "digits", PATIENCE, root)
    assert look.runs(tmp_path / "server.db") == [(first, "all_layers", "FINISHED")]
    assert look.points(tmp_path / "server.db") == POINTS
    assert len(look.rows(tmp_path / "server.db", "SELECT name FROM logged_models")) == 1
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    second = ensure_run(RunPayload(run_key="k1", name="all_layers", model=model), "digits", PATIENCE, root)
    store = root.parents[1] / "mlflow.db"
    assert look.runs(store) == [(second, "all_layers", "FINISHED")]
    assert second != first
    assert len(look.rows(store, "SELECT name FROM logged_models")) == 1


@pytest.mark.slow
@pytest.mark.parametrize("server", ["hanging", "healthy"])
def test_ensure_run_gives_up_in_time(
    root: Path, servers: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, server: str
):
    with servers.hanging() if server == "hanging" else healthy_but_hanging() as uri:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        before = time.monotonic()
        assert ensure_run(RunPayload(run_key="k1", name="s"), "digits", 8.0, root) is None
        assert time.monotonic() - before < 10.0


@pytest.mark.slow
def test_killed_publishers_and_resumed_trainings_leave_one_run_and_each_point_once(root: Path, look: SimpleNamespace):
    store = root.parents[1] / "mlflow.db"
    for attempt in range(3):
        journal = Journal.open("k1", "s", "digits", root)
        start_publisher("k1", root)
        for step in range(attempt * 300, attempt * 300 + 500):  # each attempt repeats 200 steps of the one before
            journal.metrics(step, {"loss": float(step), "accuracy": step / 2})
        deadline = time.monotonic() + PATIENCE
        while len(look.points(store)) <= attempt * 600:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        os.kill(launch._children[-1].pid, signal.SIGKILL)
        launch._children[-1].wait()
        journal.close()
    Journal.open("k1", "s", "digits", root).end()
    assert flush(root, PATIENCE).published == ("s",)
    expected = {("loss", step, float(step)) for step in range(1100)}
    expected |= {("accuracy", step, step / 2) for step in range(1100)}
    assert look.points(store) == sorted(expected)
    assert [run[2] for run in look.runs(store)] == ["FINISHED"]


@pytest.mark.slow
def test_a_killed_training_takes_its_publisher_along(root: Path, look: SimpleNamespace):
    script = (
        "import os, signal; from pathlib import Path; from tlpipe.tracking import Tracking\n"
        f"journal = Tracking(experiment='digits').journal('k1', 's', Path({str(root)!r}))\n"
        "journal.metrics(0, {'loss': 1.0}); os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", script], check=False)
    assert done.returncode == -signal.SIGKILL
    assert wait("k1", PATIENCE, root)
    assert [run[2] for run in look.runs(root.parents[1] / "mlflow.db")] == ["KILLED"]
    with held(root / "k1" / PUBLISHER_LOCK, 30.0) as free:
        assert free


@pytest.mark.slow
def test_several_publishers_make_one_store(root: Path, look: SimpleNamespace):
    journals = [Journal.open(f"k{index}", f"s{index}", "digits", root) for index in range(3)]
    for index, journal in enumerate(journals):
        start_publisher(f"k{index}", root)
        journal.metrics(0, {"loss": float(index)})
        journal.end()
    assert all(wait(f"k{index}", PATIENCE, root) for index in range(3))
    store = root.parents[1] / "mlflow.db"
    assert sorted(run[1] for run in look.runs(store)) == ["s0", "s1", "s2"]
    assert len(look.rows(store, "SELECT name FROM experiments WHERE name = 'digits'")) == 1


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_the_logged_model_answers_as_the_network_does(root: Path, tmp_path: Path, look: SimpleNamespace):
    import mlflow.pyfunc
    import torch

    from tlpipe.backbones.letters import Letters
    from tlpipe.strategies.plan import Plan
    from tlpipe.tasks.image_classification.spec import ImageClassification
    from tlpipe.train.model import About, Classifier, save_model

    torch.manual_seed(0)
    backbone, task, labels = Letters(width=4), ImageClassification(), ("a", "b", "c")
    encoder = backbone.encoder()
    network = Classifier(encoder, task.head(encoder.feature_dim, 3, 0.0)).eval()
    about = About(
        strategy="scratch", run_key="k1", task=task, backbone=backbone, preprocess=backbone.preprocess(),
        labels=labels, dropout=0.0, temperature=2.0, validation={},
        plan=Plan(strategy="s", start="random", groups=encoder.groups, phases=()),
        total_parameters=1, trainable_parameters=1,
    )  # fmt: skip
    save_model(tmp_path / "folder", network, about)
    payload = RunPayload(run_key="k1", name="scratch", model=tmp_path / "folder")
    assert ensure_run(payload, "digits", PATIENCE, root)
    ((location,),) = look.rows(root.parents[1] / "mlflow.db", "SELECT artifact_location FROM logged_models")
    images = np.random.default_rng(0).integers(0, 256, (2, 40, 50, 3), dtype=np.uint8)
    answer = mlflow.pyfunc.load_model(location).predict(images)
    ready = torch.from_numpy(np.stack([about.preprocess(image) for image in images]))
    with torch.inference_mode():
        expected = torch.softmax(network(ready) / 2.0, dim=1).numpy()
    np.testing.assert_allclose(answer, expected, atol=1e-6)
