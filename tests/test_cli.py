"""The command line: checks, tables, the schema file, and messages instead of tracebacks."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

import tlpipe
from tlpipe.advise.decision import Contender
from tlpipe.advise.told import outcome
from tlpipe.cli import app, schema_text
from tlpipe.config import read
from tlpipe.data.known import known_classes, known_samples
from tlpipe.params import load_params, outline

ROOT = Path(__file__).resolve().parents[1]
PARAMS = ROOT / "params.yaml"


def run(*arguments: Any, code: int = 0) -> Any:
    result = CliRunner().invoke(app, [str(each) for each in arguments], env={"COLUMNS": "200"})
    assert result.exit_code == code, result.output
    return result


def test_version():
    assert run("--version").stdout == f"tlpipe {tlpipe.__version__}\n"


def test_help_loads_nothing_heavy():
    code = "import sys, tlpipe.cli; print(sorted({'torch', 'mlflow', 'sklearn', 'numpy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
    assert {"check", "plan", "advise", "schema", "publish"} <= set(run("--help").stdout.split())


def test_check_says_ok_and_what_each_strategy_trains():
    lines = run("check", PARAMS).stdout.splitlines()
    assert lines[0].startswith(f"{PARAMS}: ok")
    assert lines[1].startswith("  data: ")
    strategies = [line for line in lines[2:] if not line.startswith("  memory: ")]
    assert [line.split(":")[0].strip() for line in strategies] == list(read(PARAMS)["strategies"])
    assert all("parameters train" in line for line in strategies)


@pytest.fixture
def waiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A params file with `auto` in it, in a folder where nothing ran."""
    text = PARAMS.read_text().replace("\nstrategies: [", "\nstrategies: [auto, ")
    path = tmp_path / "params.yaml"
    path.write_text(text.replace("\nfinetune:\n", "\nfinetune:\n  auto: {kind: auto, race: true}\n"))
    monkeypatch.chdir(tmp_path)
    return path


def test_a_strategy_that_waits_for_advice_is_listed_as_such(waiting: Path):
    assert "  auto: the advice comes with `dvc repro`" in run("check", waiting).stdout
    shown = run("plan", waiting).stdout
    assert "auto: the advice comes with `dvc repro`" in shown
    assert "head_only: " in shown
    assert json.loads(run("plan", waiting, "--json").stdout)["advised"] == {"auto": []}


@pytest.mark.parametrize("names", [("all_layers",), ("top_layers", "head_only")])
def test_the_plan_shows_what_the_advice_chose(waiting: Path, monkeypatch: pytest.MonkeyPatch, names: tuple[str, ...]):
    entries = load_params(waiting).finetune
    chosen = tuple(
        Contender(name=name, epochs=2 * (len(names) > 1), predicted=0.9, spread=0.1, strategy=entries[name])
        for name in names
    )
    monkeypatch.setattr("tlpipe.advise.told.told", lambda *_: chosen)
    monkeypatch.setattr("tlpipe.project.check.told", lambda *_: chosen)
    content = json.loads(run("plan", waiting, "--json").stdout)
    labels = ["auto"] if len(names) == 1 else [f"auto: {name}" for name in names]
    assert content["advised"] == {"auto": list(names)}
    assert list(content["strategies"])[-len(labels) :] == labels
    assert [content["strategies"][label] for label in labels] == [content["strategies"][name] for name in names]
    assert outcome(chosen) in run("plan", waiting).stdout
    assert f"  auto: {outcome(chosen)}" in run("check", waiting).stdout


def test_a_bad_file_ends_with_a_message_on_stderr_and_code_2(tmp_path: Path):
    bad = tmp_path / "params.yaml"
    bad.write_text(PARAMS.read_text().replace("\ntraining:", "\ntrainin:"))
    for command in ("check", "plan"):
        result = run(command, bad, code=2)
        assert result.stdout == ""
        assert "did you mean 'training'?" in result.stderr
        assert "Traceback" not in result.output


def test_a_missing_file_is_said_from_a_real_process(tmp_path: Path):
    command = [sys.executable, "-c", "from tlpipe.cli import main; main()", "check", "absent.yaml"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "absent.yaml does not exist; run from the project's folder, or name the file\n"


def test_plan_shows_every_group_of_every_strategy():
    text = run("plan", PARAMS, "--classes", "10").stdout
    for name, (plan, _) in outline(load_params(PARAMS), 10).items():
        assert f"{name}: " in text
        for phase in plan.phases:
            assert phase.name in text
            assert all(group in text for group in phase.rates)
    assert "counted for 10 classes" in text


def test_plan_as_json_has_the_rows_and_the_totals():
    content = json.loads(run("plan", PARAMS, "--json", "--classes", "7").stdout)
    assert content["classes"] == 7
    for name, (plan, _) in outline(load_params(PARAMS), 7).items():
        found = content["strategies"][name]
        assert len(found["rows"]) == (len(plan.groups) + 1) * max(1, len(plan.phases))
        by_phase: dict[str, int] = {}
        for row in found["rows"]:
            by_phase[row["phase"]] = by_phase.get(row["phase"], 0) + row["trained_parameters"]
            assert row["trainable"] == (row["group"] == "head" if not plan.phases else row["learning_rate"] is not None)
        assert found["trainable"] == max(by_phase.values())
        assert by_phase == {total["phase"]: total["trainable"] for total in found["totals"]}
        assert found["ratio"] == found["trainable"] / found["parameters"]


def test_the_head_has_as_many_classes_as_prepare_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    assert known_classes() is known_samples() is None
    (tmp_path / "data/packed").mkdir(parents=True)
    found = {"classes": ["a", "b", "c"], "learnt": 100}
    (tmp_path / "data/packed/dataset.json").write_text(json.dumps(found))
    assert (known_classes(), known_samples()) == (3, 100)
    content = json.loads(run("plan", PARAMS, "--json").stdout)
    assert (content["classes"], content["samples"]) == (3, 100)
    head = content["strategies"]["head_only"]
    assert head["parameters_per_sample"] == head["trainable"] / 100


def test_samples_follow_from_the_limit_a_class_where_the_classes_are_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    # with folds, what ships learns from all of them
    limit = yaml.safe_load(Path(PARAMS).read_text())["data"]["limit_per_class"]
    assert json.loads(run("plan", PARAMS, "--json", "--classes", "10").stdout)["samples"] == 10 * limit


def test_the_schema_file_is_fresh(tmp_path: Path):
    out = tmp_path / "schema.json"
    assert run("schema", "--out", out).stdout == f"wrote {out}\n"
    assert out.read_text() == schema_text()
    assert (ROOT / "params.schema.json").read_text() == schema_text(), "run `tlpipe schema`"


def test_the_schema_describes_every_section_and_refuses_others():
    content = json.loads(schema_text())
    assert content["additionalProperties"] is False
    assert set(content["required"]) == set(read(PARAMS))
    for name, section in content["properties"].items():
        assert section.get("description"), f"{name} needs a docstring"


def test_publish_with_nothing_waiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    assert run("publish").stdout == "nothing waits to be published\n"
