"""The check stage: writes the preprocessing and starts nothing, or refuses and writes nothing."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tlpipe.config import ConfigError
from tlpipe.params import load_params
from tlpipe.preprocess.image import ImagePreprocess
from tlpipe.stages.check import main

ROOT = Path(__file__).resolve().parents[2]
PARAMS = ROOT / "params.yaml"


def test_it_writes_the_preprocessing_that_the_backbone_asks_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    out = tmp_path / "data" / "preprocess.json"
    assert main(PARAMS, out) == 0
    params = load_params(PARAMS)
    samples = json.loads(out.read_text())
    assert samples["task"] == "image_classification"
    assert ImagePreprocess.model_validate_json(json.dumps(samples["preprocess"])) == params.backbone.preprocess()
    printed = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in printed[: len(params.strategies)]] == list(params.strategies)


def test_its_output_depends_on_the_preprocessing_alone(tmp_path: Path):
    other = tmp_path / "params.yaml"
    text = PARAMS.read_text()
    assert "dropout: " in text
    other.write_text(text.replace("dropout: ", "patience: 3\n  dropout: "))
    assert (main(PARAMS, tmp_path / "a.json"), main(other, tmp_path / "b.json")) == (0, 0)
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


@pytest.mark.parametrize(("monitor", "expected"), [("auto", "macro_f1"), ("brier", "brier"), ("loss", "loss")])
def test_it_writes_what_epochs_are_compared_by(tmp_path: Path, monitor: str, expected: str):
    params = tmp_path / "params.yaml"
    text = PARAMS.read_text().replace("metric: accuracy", "metric: macro_f1")
    params.write_text(text.replace("  dropout: ", f"  monitor: {monitor}\n  dropout: "))
    assert main(params, tmp_path / "preprocess.json") == 0
    assert json.loads((tmp_path / "monitor.json").read_text()) == {"monitor": expected}


def test_a_bad_file_is_refused_with_code_2_and_nothing_is_written(tmp_path: Path):
    (tmp_path / "params.yaml").write_text(PARAMS.read_text().replace("\ntraining:", "\ntrainin:"))
    command = [sys.executable, "-m", "tlpipe.stages", "check"]
    env = {"PYTHONPATH": str(ROOT), "PATH": ""}
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=env, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "did you mean 'training'?" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "data").exists()


def test_a_machine_that_cannot_compile_is_found_out_before_any_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    def refuse(device: str) -> None:
        raise ConfigError(f"nothing compiles on {device}")

    monkeypatch.setattr("tlpipe.train.hardware.device.refuse_without_compiler", refuse)
    other = tmp_path / "params.yaml"
    other.write_text(
        PARAMS.read_text().replace("compile: false", "compile: true").replace("device: auto", "device: cpu")
    )
    assert main(other, tmp_path / "preprocess.json") == 2
    assert "nothing compiles on cpu" in capsys.readouterr().err
    assert not (tmp_path / "preprocess.json").exists()
