"""The pretrain stage for BERT: after SIGKILL it goes on and ends with the same bits, and MLflow has its curves."""

import csv
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.train.test_language import write_text
from tlpipe.tracking.outbox import RUNS, project
from tlpipe.tracking.snapshot import read

ROOT = Path(__file__).resolve().parents[2]
PARAMS = """
backbone:
  kind: bert
  corpus: [{corpus}]
  size: {{layers: 1, width: 32, heads: 2, vocabulary: 100}}
  max_length: 24
  epochs: 30
  batch_size: 8
runtime: {{device: cpu, precision: fp32, compile: false, threads: 1, processes: 1}}
tracking: {{enabled: true, experiment: test, wait: 0}}
"""
pytestmark = pytest.mark.slow


def start(folder: Path, stage: str) -> "subprocess.Popen[bytes]":
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen([sys.executable, "-m", "tlpipe.stages", stage], cwd=folder, env=environment)


@pytest.fixture
def make_project(tmp_path: Path) -> Callable[[str], Path]:
    (tmp_path / "text").mkdir()
    write_text(tmp_path / "text")

    def make(name: str) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        (folder / "params.yaml").write_text(PARAMS.format(corpus=tmp_path / "text"))
        assert start(folder, "tokenizer").wait(120) == 0
        return folder

    return make


def test_a_killed_pretraining_goes_on_and_ends_with_the_same_bits(make_project: Callable[[str], Path]) -> None:
    whole, killed = make_project("whole"), make_project("killed")
    assert start(whole, "pretrain").wait(240) == 0
    process, until = start(killed, "pretrain"), time.monotonic() + 240
    while not list((killed / ".tlpipe/work/pretrain").glob("*/state.pt")):
        assert process.poll() is None
        assert time.monotonic() < until
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait(60) == -signal.SIGKILL
    assert not (killed / "models/source").exists()
    assert start(killed, "pretrain").wait(240) == 0
    names = sorted(path.name for path in (whole / "models/source").iterdir())
    assert names == sorted(path.name for path in (killed / "models/source").iterdir())
    for name in names:
        assert (whole / "models/source" / name).read_bytes() == (killed / "models/source" / name).read_bytes(), name
    (run,) = (project(killed) / RUNS).iterdir()
    recorded = read(run)
    with (killed / "reports/training/pretrain/history.csv").open() as file:
        history = list(csv.DictReader(file))
    assert recorded.status == "FINISHED"
    for name in ("mlm_accuracy", "perplexity", "nsp_accuracy"):
        assert [point.value for point in recorded.points if point.key == name] == [
            float(each[name]) for each in history
        ]
