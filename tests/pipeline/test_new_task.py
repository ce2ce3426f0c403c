"""A further task is a folder and a name in the union: nothing else in the package knows tasks by their names."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tlpipe.code.names import PACKAGE

pytestmark = pytest.mark.slow
STAGES = (
    "code", "check", "prepare", "embed", "advise", "head", "finetune:head_only", "evaluate:head_only", "compare",
    "export", "report",
)  # fmt: skip
PROGRAM = """
import sys
from importlib import import_module
for name in sys.argv[1:]:
    stage, _, argument = name.partition(":")
    code = import_module(f"tlpipe.stages.{stage}").main(*filter(None, [argument]))
    if code:
        sys.exit(f"{name} ended with {code}")
from tlpipe.serve import Predictor
predict = Predictor("models/bundle", device="cpu")
print(predict.loaded.bundle.task, predict(["data/digits/test/3/" + sys.stdin.read()])[0]["label"])
"""


def add_task(package: Path) -> None:
    """Image classification under another name, `image_sorting`, in a copy of the package."""
    folder = package / "tasks/image_sorting"
    shutil.copytree(package / "tasks/image_classification", folder)
    for path in folder.glob("*.py"):
        renamed = path.read_text().replace("image_classification", "image_sorting")
        path.write_text(renamed.replace("ImageClassification", "ImageSorting"))
    union = package / "tasks/union.py"
    named = union.read_text().replace("    ImageClassification |", "    ImageSorting | ImageClassification |")
    imported = "from tlpipe.tasks.image_sorting.spec import ImageSorting\n"
    union.write_text(named.replace("from tlpipe.tasks.question", f"{imported}from tlpipe.tasks.question"))


def test_it_runs_from_raw_samples_to_answers(project: Any, tmp_path: Path) -> None:
    shutil.copytree(PACKAGE, tmp_path / "other/tlpipe", ignore=shutil.ignore_patterns("__pycache__"))
    add_task(tmp_path / "other/tlpipe")
    champion = json.loads((project.folder / "models/finetuned/head_only/model.json").read_text())
    project.set({"task.kind": "image_sorting", "strategies": ["head_only"], "tracking.enabled": False})
    for name in ("data/packed", "models/head", "models/finetuned", "models/seeds", "models/champion", "models/bundle"):
        shutil.rmtree(project.folder / name)
    image = min((project.folder / "data/digits/test/3").iterdir()).name
    environment = {**project.environment, "PYTHONPATH": str(tmp_path / "other")}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *STAGES],
        cwd=project.folder, env=environment, input=image, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.splitlines()[-1].split()[0] == "image_sorting"
    again = project.json("models/champion/model.json")
    assert again["task"]["kind"] == project.json("data/packed/dataset.json")["task"] == "image_sorting"
    assert again["validation"] == champion["validation"]
    files = project.json("data/code.json")["files"]
    assert {f"tlpipe/tasks/image_sorting/{name}.py" for name in ("spec", "samples", "evaluation", "export")} <= set(
        files
    )
    assert not [name for name in files if name.startswith("tlpipe/tasks/image_classification/") and "export" in name]
