"""`tlpipe stage`: which stages there are, and how a bad call ends."""

import subprocess
import sys
from pathlib import Path

import pytest

from tlpipe.code.names import PACKAGE
from tlpipe.config import ConfigError
from tlpipe.stages.runner import STAGES, run_stage

ROOT = Path(__file__).resolve().parents[2]


def test_every_stage_has_a_module_and_every_module_a_stage() -> None:
    helpers = {"__init__", "__main__", "claim", "runner", "follow", "race", "crossfit", "training", "tfidf"}
    assert {path.stem for path in (PACKAGE / "stages").glob("*.py")} - helpers == set(STAGES)


@pytest.mark.parametrize("name", STAGES)
def test_the_script_of_a_stage_runs_it(name: str) -> None:
    lines = (ROOT / "stages" / f"{name}.py").read_text().splitlines()
    assert lines[0] == (PACKAGE / "stages" / f"{name}.py").read_text().splitlines()[0]
    assert lines[-2:] == ['if __name__ == "__main__":', f'    script("{name}")']
    assert len(lines) == 6


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
