"""`tlpipe stage`: which stages there are, and how a bad call ends."""

import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from tlpipe.config import ConfigError
from tlpipe.stages.runner import STAGES, run_stage

ROOT = Path(__file__).resolve().parents[2]


def test_the_pipeline_runs_every_stage_with_its_arguments() -> None:
    pipeline = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text())["stages"]
    commands = {stage["cmd"] for stage in pipeline.values()}
    assert commands == {f"tlpipe stage {name}{' ${item.strategy}' * bool(STAGES[name].argument)}" for name in STAGES}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("finetun",), "did you mean 'finetune'"),
        (("finetune",), "takes one argument, the strategy"),
        (("head", "all_layers"), "takes no argument"),
    ],
)
def test_a_wrong_call_is_refused(words: tuple[str, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        run_stage(*words)


def test_a_refusal_is_one_message_and_code_2(tmp_path: Path) -> None:
    command = [Path(sys.executable).with_name("tlpipe"), "stage", "prepare"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "params.yaml" in done.stderr
    assert "Traceback" not in done.stderr
