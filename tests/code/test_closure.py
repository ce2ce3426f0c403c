"""Which files a stage depends on: what it can run, and nothing of another kind of data."""

import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from tlpipe.code import names
from tlpipe.code.closure import PARAMS, SHOWS_ONLY, closure, kinds_used, relative
from tlpipe.code.fingerprint import DECIDES, NEUTRAL, kinds_in
from tlpipe.code.names import PACKAGE
from tlpipe.config import read
from tlpipe.params import load_params
from tlpipe.stages.runner import STAGES

ROOT = PACKAGE.parent
Parse = Callable[[str], names.Module]
RECIPES = [ROOT / "params.yaml", *sorted((ROOT / "recipes").glob("*.yaml"))]
IMAGES = kinds_used(kinds_in(read(ROOT / "params.yaml")))
REACHED = {
    "tlpipe/train/trainer/loop.py": {"pretrain", "finetune"},
    "tlpipe/train/trainer/weight_averaging.py": {"pretrain", "finetune"},
    "tlpipe/train/heads/linear.py": {"head", "finetune"},
    "tlpipe/serve/http/app.py": set(),
    "tlpipe/data/squad.py": set(),
    "tlpipe/data/conll.py": set(),
    "tlpipe/data/text_table.py": set(),
    "tlpipe/data/image_table.py": set(),
    "tlpipe/data/image_folder.py": {"check", "prepare", "choose", "export"},
    "tlpipe/metrics.py": {
        "check", "choose", "pretrain", "head", "finetune", "evaluate", "baseline", "compare", "export", "report",
    },
    "tlpipe/tagging.py": set(),
    "tlpipe/entities.py": set(),
    "tlpipe/tasks/image_classification/serving.py": set(),
    "tlpipe/tasks/text_classification/evaluation.py": set(),
    "tlpipe/tasks/question_answering/report.html.j2": set(),
    "tlpipe/export/parity.py": {"export"},
    "tlpipe/report/report.html.j2": {"report"},
}  # fmt: skip
"""By the file, the stages of an image project that a change of it reruns."""


@cache
def files(stage: str, kinds: frozenset[str] = IMAGES) -> set[str]:
    return {relative(path) for path in closure(PACKAGE / "stages" / f"{stage}.py", kinds)[0]}


@pytest.mark.parametrize("file", REACHED)
def test_a_changed_file_reruns_the_stages_that_it_can_change(file: str) -> None:
    assert (ROOT / file).is_file()
    assert {stage for stage in STAGES if stage != "code" and file in files(stage)} == REACHED[file]


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_the_kinds_of_a_project_include_what_its_task_makes_of_the_samples(recipe: Path) -> None:
    params = load_params(recipe)
    kinds = kinds_used(kinds_in(read(recipe)))
    preprocess = params.task.preprocess(params.backbone.preprocess())
    assert {params.task.kind, params.backbone.kind, params.data.source.kind, preprocess.kind} <= kinds
    assert names.all_kinds() - kinds, "nothing at all would be left out"


def test_every_package_that_a_stage_imports_is_known_to_decide_bits_or_not_to() -> None:
    everything = kinds_used(names.all_kinds())
    used = {name for stage in STAGES for name in closure(PACKAGE / "stages" / f"{stage}.py", everything)[1]}
    foreign = {name for name in used if name not in sys.stdlib_module_names}
    assert foreign <= set(DECIDES) | NEUTRAL
    assert {"torch", "torchvision", "timm", "transformers", "onnxruntime", "PIL"} <= foreign


@pytest.fixture
def parsed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Parse:
    def write(source: str) -> names.Module:
        path = tmp_path / "module.py"
        path.write_text(source)
        names.parsed.cache_clear()
        names._tree.cache_clear()
        return names.parsed(path)

    return write


def test_what_a_function_imports_is_used_by_it_alone(parsed: Parse) -> None:
    module = parsed("def f():\n    from tlpipe.train import fit\n    return fit\n\ndef g(): ...\n")
    assert {use.name for use in module.symbols["f"]} == {"fit"}
    assert not module.symbols["g"]
    assert not module.loose


def test_imports_for_type_checkers_are_none(parsed: Parse) -> None:
    module = parsed("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from tlpipe.train import fit\n")
    assert set(module.imports) == {"TYPE_CHECKING"}


def test_an_import_by_a_string_counts(parsed: Parse) -> None:
    module = parsed('MODELS = "timm.models"\ndef f():\n    return lean_import(MODELS)\n')
    assert module.imports["timm.models"] == {("timm.models", None)}
    assert "timm.models" in {use.name for use in module.symbols["f"]}


def test_a_table_of_kinds_is_followed_by_kind_and_a_record_is_not_taken_for_one(parsed: Parse) -> None:
    module = parsed(
        'from tlpipe.a import x, y\nTABLE = {"image": x, "text": y}\nMIXED = {"image": x, "other": y}\n'
        'def f():\n    return {"text": y}\n'
    )
    assert {(use.name, use.kinds) for use in module.symbols["TABLE"] if use.name != "TABLE"} == {
        ("x", frozenset({"image"})), ("y", frozenset({"text"})),
    }  # fmt: skip
    assert {use.kinds for symbol in ("MIXED", "f") for use in module.symbols[symbol]} == {None}


@pytest.mark.parametrize(
    ("recipe", "metrics"), [("token_classification", "entities"), ("question_answering", "answer_metrics")]
)
def test_what_chooses_the_epoch_is_code_of_the_training(recipe: str, metrics: str) -> None:
    kinds = kinds_used(kinds_in(read(ROOT / f"recipes/{recipe}.yaml")))
    assert {f"tlpipe/{metrics}.py", "tlpipe/sums.py"} <= files("finetune", kinds)


def test_what_only_shows_things_is_left_out() -> None:
    everything = kinds_used(names.all_kinds())
    found = {name for stage in STAGES for name in files(stage, everything)}
    assert not [name for name in found if name.startswith(SHOWS_ONLY)]
    assert relative(PARAMS) in found
