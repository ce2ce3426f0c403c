"""The dvc.yaml that a project gets: short, and with the stages of its task alone."""

import ast
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tlpipe.code.names import PACKAGE
from tlpipe.config import read
from tlpipe.project.init import IGNORED
from tlpipe.project.pipeline import pipeline
from tlpipe.stages.runner import STAGES

ROOT = PACKAGE.parent
RECIPES = [ROOT / "params.yaml", *sorted((ROOT / "recipes").glob("*.yaml"))]
IMAGES = ["code", "check", "prepare", "pretrain", "embed", "advise", "head", "finetune", "evaluate", "compare",
          "export", "report"]  # fmt: skip
SHOWS = {"pretrain", "finetune", "export"}
"""Stages that read `tracking` for what they show, not for what they write."""


def stages(recipe: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = YAML(typ="safe").load(pipeline(read(recipe)))["stages"]
    return loaded


def test_the_repositorys_own_is_what_init_writes() -> None:
    assert (ROOT / "dvc.yaml").read_text() == pipeline(read(ROOT / "params.yaml")), "run `tlpipe upgrade`"


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_it_reads_in_a_screen_or_two(recipe: Path) -> None:
    text = pipeline(read(recipe))
    assert len(text.splitlines()) <= 150
    assert "<" not in text
    assert "#?" not in text
    for name, stage in stages(recipe).items():
        assert stage["cmd"] == f"tlpipe stage {name}{' ${item.strategy}' * bool(STAGES[name].argument)}"
        keys = [entry for entry in stage.get("params", []) if isinstance(entry, dict)]
        assert {"data/code.json": [f"stages.{name}"]} in keys or name == "code"


def test_images_have_no_stages_of_texts() -> None:
    assert list(stages(ROOT / "recipes/images.yaml")) == IMAGES
    text = pipeline(read(ROOT / "recipes/images.yaml"))
    assert "tokenizer" not in text
    assert "baseline" not in text


def test_the_offline_defaults_make_their_samples() -> None:
    assert set(stages(ROOT / "params.yaml")) - set(IMAGES) == {"sample_data"}
    assert set(stages(ROOT / "recipes/text_classification.yaml")) - set(IMAGES) == {
        "sample_text",
        "tokenizer",
    }
    assert "baseline" in stages(ROOT / "recipes/token_classification.yaml")
    assert set(stages(ROOT / "recipes/solar_cells.yaml")) - set(IMAGES) == {"sample_solar"}


def test_files_of_packages_are_no_dependencies_of_dvc() -> None:
    assert stages(ROOT / "recipes/solar_cells.yaml")["pretrain"]["deps"] == ["data/preprocess.json"]
    assert stages(ROOT / "recipes/text_classification.yaml")["tokenizer"].get("deps") is None


def test_files_of_ones_own_are_dependencies(tmp_path: Path) -> None:
    params = read(ROOT / "recipes/sst2_bert.yaml")
    corpora = [f"${{backbone.corpus[{at}]}}" for at in range(len(params["backbone"]["corpus"]))]
    found = YAML(typ="safe").load(pipeline(params))["stages"]
    assert found["tokenizer"]["deps"] == corpora
    assert found["pretrain"]["deps"][-len(corpora) :] == corpora
    assert stages(ROOT / "recipes/hymenoptera.yaml")["pretrain"]["deps"][-1] == "${backbone.path}"
    params["backbone"] = {"kind": "huggingface", "name": "weights"}
    assert (
        "tokenizer:\n    desc: What turns raw texts into tokens.\n    cmd: tlpipe stage tokenizer\n    params"
        in pipeline(params)
    )
    (tmp_path / "weights").mkdir()
    assert 'deps: ["${backbone.name}"]' in pipeline(params, tmp_path)


HAVING = {
    "sample_data": "params.yaml",
    "sample_solar": "recipes/solar_cells.yaml",
    "choose": "params.yaml",
    "baseline": "recipes/token_classification.yaml",
}
"""Params whose project has the stage, or would with another backbone."""


@pytest.mark.parametrize("name", [name for name in STAGES if name not in ("code", "check")])
def test_every_section_that_a_stage_loads_is_declared(name: str) -> None:
    params = read(ROOT / HAVING.get(name, "recipes/text_classification.yaml"))
    if name == "choose":
        params["backbone"] = {"kind": "auto", "among": [{"kind": "torchvision", "name": "mobilenet_v2"}]}
    there = YAML(typ="safe").load(pipeline(params))["stages"]
    tree = ast.parse((PACKAGE / "stages" / f"{name}.py").read_text())
    loaded = {
        call.args[0].value.split(".")[0] if isinstance(call.args[0], ast.Constant) else "finetune"
        for call in ast.walk(tree)
        if isinstance(call, ast.Call)
        and getattr(call.func, "attr", getattr(call.func, "id", "")) == "load"
        and call.args
    }
    declared = {param.split(".")[0] for param in there[name].get("params", []) if isinstance(param, str)}
    assert loaded - ({"tracking"} if name in SHOWS else set()) == declared


def test_data_of_ones_own_can_be_added_to_the_repository(tmp_path: Path) -> None:
    lines = (ROOT / ".gitignore").read_text()
    assert set(IGNORED.splitlines()[1:]) <= set(lines.splitlines())
    (tmp_path / ".gitignore").write_text(lines)
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    outs = [out for stage in stages(ROOT / "params.yaml").values() for out in stage["outs"] if isinstance(out, str)]
    written = [out.replace("${item.strategy}", "head_only") for out in outs]
    own = ["data/mine", "data/mine.dvc", "data/.gitignore", "data/corpus/texts.txt.dvc", "models/pretrained/a.pt.dvc"]
    said = subprocess.run(
        ["git", "check-ignore", *written, *own], cwd=tmp_path, check=True, capture_output=True, text=True
    )
    assert said.stdout.splitlines() == written
