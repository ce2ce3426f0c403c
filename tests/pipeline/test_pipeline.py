"""The whole pipeline as a user meets it: dvc repro, again, with a change, as an experiment."""

import csv
import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tlpipe.project.status import rewrite
from tlpipe.train.trainer.stuck import another_seed

pytestmark = pytest.mark.slow

STRATEGIES = ("head_only", "top_layers", "all_layers", "scratch")
EACH = {stage: {f"{stage}@{name}" for name in STRATEGIES} for stage in ("finetune", "evaluate")}
FIRST: dict[str, set[str]] = {
    "task": {"head"},
    "data": {"prepare"},
    "data.source": {"prepare", "export"},
    "data.checks": {"prepare", "export"},
    "backbone": {"pretrain"},
    "runtime": {"pretrain", "embed", "advise", *EACH["finetune"], *EACH["evaluate"]},
    "head": {"head", *EACH["finetune"]},
    "training": EACH["finetune"] | {"advise"},
    "finetune.head_only": {"finetune@head_only", "advise"},
    "finetune.top_layers": {"finetune@top_layers", "advise"},
    "finetune.all_layers": {"finetune@all_layers", "advise"},
    "finetune.scratch": {"finetune@scratch", "advise"},
    "advise": {"advise"},
    "strategies": {"compare"},
    "evaluate": EACH["evaluate"],
    "compare": {"compare"},
    "export": {"export"},
    "tracking": {"compare"},
}
"""The stages that a section can change directly, by hand; the longest matching prefix counts."""


def leaves(node: Any, path: str = "") -> list[tuple[str, Any]]:
    if isinstance(node, dict) and node:
        return [leaf for key, value in node.items() for leaf in leaves(value, f"{path}.{key}" if path else str(key))]
    return [(path, node)]


def other(value: Any) -> Any:
    """Another value of about the same type."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    if isinstance(value, list):
        return value[:-1]
    return f"{value}-changed"


def expected(leaf: str) -> set[str]:
    sections = [section for section in FIRST if leaf == section or leaf.startswith(section + ".")]
    return FIRST[max(sections, key=len)]


def test_everything_that_is_promised_is_there(finished: Any) -> None:
    comparison = finished.json("reports/comparison.json")
    assert set(comparison["strategies"]) == set(STRATEGIES)
    assert comparison["champion"] in STRATEGIES
    for entry in comparison["strategies"].values():
        assert set(entry["test"]["accuracy"]) == {"value", "low", "high"}
        assert (
            entry["test"]["accuracy"]["low"] <= entry["test"]["accuracy"]["value"] <= entry["test"]["accuracy"]["high"]
        )
        assert entry["seconds"] > 0
        assert entry["trainable_parameters"] <= entry["total_parameters"]
        assert entry["mlflow_run_id"]
    bundle = finished.json("models/bundle/bundle.json")
    assert bundle["labels"] == [str(digit) for digit in range(10)]
    assert bundle["task"] == "image_classification"
    assert {"inputs", "outputs", "preprocessing", "sha256", "versions", "metrics", "parity"} <= set(bundle)
    assert "<html" in (finished.folder / "reports/report.html").read_text()


def test_the_bundle_reproduces_the_reported_test_accuracy_without_torch(finished: Any) -> None:
    with (finished.folder / "reports/evaluation" / finished.json("models/bundle/bundle.json")["strategy"]
          / "predictions.csv").open() as file:  # fmt: skip
        rows = [row for row in csv.DictReader(file) if row["split"] == "test"]
    script = f"""
import json, sys
sys.modules["torch"] = None
import numpy as np, onnxruntime
from PIL import Image
session = onnxruntime.InferenceSession("models/bundle/model.onnx", providers=["CPUExecutionProvider"])
labels = json.load(open("models/bundle/bundle.json"))["labels"]
right = 0
for path, label in json.loads(sys.stdin.read()):
    image = np.asarray(Image.open(path).convert("RGB"))[None]
    right += labels[int(session.run(["probabilities"], {{"image": image}})[0].argmax())] == label
print(right / {len(rows)})
"""
    samples = json.dumps([[f"data/digits/{row['id']}", row["label"]] for row in rows])
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=finished.folder, input=samples, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    reported = finished.json("models/bundle/bundle.json")["metrics"]["test"]["accuracy"]
    value = reported["value"] if isinstance(reported, dict) else reported
    assert float(done.stdout) == pytest.approx(value, abs=0.0011)


def test_other_seeds_are_trained_and_only_tell_the_spread(finished: Any) -> None:
    comparison = finished.json("reports/comparison.json")
    for name, entry in comparison["strategies"].items():
        values = entry["seeds"]["validation"]["accuracy"]["values"]
        assert values[0] == entry["validation"]["accuracy"]
        assert len(values) == (1 if name == "head_only" else 2)
    models = [finished.folder / "models" / place for place in ("finetuned/scratch", "seeds/scratch/1")]
    first, second = ((folder / "model.safetensors").read_bytes() for folder in models)
    assert first != second
    assert (models[0].parents[1] / "seeds/head_only/seeds.json").read_text() == "[]\n"


def test_mlflow_has_the_strategies_below_their_comparison_and_a_champion(finished: Any) -> None:
    with closing(sqlite3.connect(finished.folder / "mlflow.db")) as store:
        parents = store.execute("SELECT value FROM tags WHERE key = 'mlflow.parentRunId'").fetchall()
        named = store.execute("SELECT run_uuid FROM runs WHERE name = 'comparison'").fetchall()
        aliases = store.execute("SELECT name, alias, version FROM registered_model_aliases").fetchall()
    assert parents == named * len(STRATEGIES)
    assert aliases == [("tlpipe", "champion", 1)]


def test_a_plan_is_the_same_wherever_it_is_told(finished: Any) -> None:
    said, written = finished.plans()
    assert set(said) == set(STRATEGIES)
    assert written == said
    page = (finished.folder / "reports/report.html").read_text()
    for name, entry in finished.json("reports/comparison.json")["strategies"].items():
        (sent,) = finished.folder.glob(f"mlartifacts/*/{entry['mlflow_run_id']}/artifacts/plan.json")
        assert json.loads(sent.read_text()) == said[name]
        assert f"{said[name]['trainable']:,} of {said[name]['parameters']:,} parameters train" in page
        assert f"{said[name]['overfitting_risk']} risk of overfitting" in page


def test_a_second_repro_runs_nothing(finished: Any) -> None:
    assert finished.repro() == []


def test_every_leaf_of_params_reruns_what_it_can_change_and_nothing_upstream(project: Any) -> None:
    original = (project.folder / "params.yaml").read_text()
    checked = 0
    for leaf, value in leaves(project.params()):
        if leaf in ("data.source.path", "strategies") or leaf.endswith(".kind"):
            continue
        project.set({leaf: other(value)})
        status = project.status()
        assert set(status) - {"check"} == expected(leaf), leaf
        assert "check" in status, leaf
        (project.folder / "params.yaml").write_text(original)
        checked += 1
    assert checked > 45


def test_another_data_folder_reruns_prepare_and_not_what_made_the_old_one(project: Any) -> None:
    (project.folder / "data/mine").mkdir()
    project.set({"data.source.path": "data/mine"})
    status = project.status()
    assert set(status) - {"check"} == {"prepare", "export"}


def test_weights_of_ones_own_are_a_dependency(project: Any) -> None:
    (project.folder / "mine.pth").write_bytes(b"other weights")
    project.set({"backbone": {"kind": "checkpoint", "path": "mine.pth"}})
    assert rewrite(project.folder)
    assert "mine.pth" in json.dumps(project.status()["pretrain"])


def test_a_strategy_less_reruns_compare(project: Any) -> None:
    project.set({"strategies": list(STRATEGIES[:3])})
    status = project.status()
    assert set(status) == {"check", "compare"}


def test_changing_one_rate_runs_exactly_what_follows_from_it(project: Any) -> None:
    project.set({"finetune.all_layers.lr": 5e-4})
    ran = set(project.repro())
    always = {"check", "advise", "finetune@all_layers", "evaluate@all_layers", "compare", "report"}
    assert always <= ran
    assert ran - always <= {"export"}
    assert project.repro() == []


def test_going_back_restores_from_the_cache_and_mlflow_still_has_every_run(project: Any) -> None:
    before = project.json("reports/comparison.json")
    original = (project.folder / "params.yaml").read_text()
    project.set({"finetune.all_layers.lr": 5e-4})
    project.repro()
    changed = project.json("reports/comparison.json")
    (project.folder / "params.yaml").write_text(original)
    (project.folder / "mlflow.db").unlink()
    assert "finetune@all_layers" not in project.repro()
    again = project.json("reports/comparison.json")
    ids = {name: entry["mlflow_run_id"] for name, entry in again["strategies"].items()}
    assert all(ids.values())
    assert ids["all_layers"] != changed["strategies"]["all_layers"]["mlflow_run_id"]
    assert again["champion"] == before["champion"]


def test_an_experiment_is_run_and_shown(project: Any) -> None:
    project.run("dvc", "exp", "run", "-n", "hotter", "-S", "finetune.all_layers.lr=0.002")
    shown = project.run("dvc", "exp", "show", "--csv").stdout
    assert "hotter" in shown
    assert "0.002" in shown
    difference = project.run("dvc", "metrics", "diff", "--all", "--json").stdout
    assert "reports/evaluation/all_layers/metrics.json" in difference
    project.run("dvc", "plots", "show", "-o", "plots")
    assert "history_csv" in (project.folder / "plots/index.html").read_text()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"finetune.top_layers.layers": 9}, "this backbone has 5"),
        ({"task.kind": "text_classification"}, "text_classification"),
        ({"training.batchsize": 3}, "batch_size"),
        ({"strategies": ["head_only", "top_layer", "all_layers", "scratch"]}, "top_layers"),
    ],
)
def test_what_cannot_work_is_refused_before_any_work(project: Any, change: dict[str, Any], said: str) -> None:
    project.set(change)
    done = project.run("dvc", "repro", "check", check=False)
    output = done.stdout + done.stderr
    assert done.returncode != 0
    assert said in output
    assert "Traceback" not in output


def test_a_class_without_samples_is_an_error_and_nothing_is_trained(project: Any, tmp_path: Path) -> None:
    mine = project.folder / "data/mine"
    for label in ("full", "empty"):
        (mine / label).mkdir(parents=True)
        (mine / label / "broken.png").write_bytes(b"not an image")
    source = project.folder / "data/digits/train/1"
    for index, file in enumerate(sorted(source.iterdir())[:10]):
        (mine / "full" / f"{index}.png").write_bytes(file.read_bytes())
    project.set({"data.source.path": "data/mine", "data.split.test": 0.2, "data.limit_per_class": None})
    done = project.run("dvc", "repro", "prepare", check=False)
    assert done.returncode != 0
    assert "empty" in done.stdout + done.stderr


def test_a_training_that_got_stuck_is_trained_again_and_reported(project: Any) -> None:
    project.set({"finetune.scratch.lr": 1e-8, "training.retries": 1, "training.seeds": 1, "tracking.enabled": False})
    said = project.run("dvc", "repro", "-s", "finetune@scratch").stderr
    trainings = ("scratch fold 1/2", "scratch fold 2/2", "scratch on all labels")
    for title in trainings:
        assert said.count(f"{title} got stuck and is trained again with another seed: with seed 0") == 1
        assert said.count(f"{title} got stuck and stays: training.retries is over") == 1
    found = project.json("reports/training/scratch/timing.json")["stuck"]
    assert [each["seed"] for each in found] == [0, another_seed(0, 1)] * len(trainings)
