"""The shipped params.yaml is right, and every way of getting it wrong is refused with a way out."""

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from tlpipe.backbones import AnyBackbone
from tlpipe.config import ConfigError, members, parse, read
from tlpipe.evaluate.compare import Compare
from tlpipe.params import Params, load_params, outline
from tlpipe.strategies.plan import HEAD
from tlpipe.tasks.token_classification.spec import TokenClassification
from tlpipe.tasks.union import AnyTask
from tlpipe.train.spec import Training

ROOT = Path(__file__).resolve().parents[1]
SHIPPED = read(ROOT / "params.yaml")
LAYERS = next(name for name, entry in SHIPPED["finetune"].items() if entry["kind"] == "top_layers")
Edit = Callable[[dict[str, Any]], object]


def write(folder: Path, data: dict[str, Any]) -> Path:
    path = folder / "params.yaml"
    with path.open("w") as file:
        YAML(typ="safe", pure=True).dump(data, file)
    return path


def refusal(folder: Path, edit: Edit) -> str:
    data = copy.deepcopy(SHIPPED)
    edit(data)
    with pytest.raises(ConfigError) as caught:
        load_params(write(folder, data))
    return str(caught.value)


@pytest.mark.parametrize(
    "path", [ROOT / "params.yaml", *sorted((ROOT / "recipes").glob("*.yaml"))], ids=lambda p: p.name
)
def test_what_is_shipped_is_accepted(path: Path):
    params = load_params(path)
    networks = [name for name in params.strategies if params.finetune[name].network]
    assert list(outline(params, 2)) == networks
    assert path.read_text().startswith("# yaml-language-server: $schema=")


def test_every_section_is_required(tmp_path: Path):
    for section in Params.model_fields:
        text = refusal(tmp_path, lambda data, section=section: data.pop(section))
        assert f"{section}: is missing" in text
        assert f"do:      add {section}: ..." in text


TOP = f"finetune/{LAYERS}"
GONE = object()
WRONG: list[tuple[str, Any, list[str]]] = [
    ("backbon", {}, ["backbon (line ", "unknown key 'backbon'", "did you mean 'backbone'?"]),
    ("task/kind", "image_clasification", ["'image_clasification'", "did you mean 'image_classification'?"]),
    ("backbone/kind", "leters", ["backbone", "'leters'", "letters", "did you mean 'letters'?"]),
    ("runtime/device", "gpu", ["runtime.device", "'gpu' (text)", "auto or cpu or cuda or mps"]),
    ("training/seed", "0", ["training.seed", "'0' (text)", "a whole number", "without quotes: 0"]),
    ("training/batch_size", True, ["training.batch_size", "given:   true", "a whole number from 2"]),
    ("training/batch_size", 1, ["training.batch_size", "given:   1\n", "from 2 to 65_536"]),
    ("training/augment/flp", True, ["training.augment.flp", "did you mean 'flip'?"]),
    ("training/augment/zoom", [2.0, 1.0], ["training.augment", "smallest, largest", "[2.0, 1.0]"]),
    (f"{TOP}/lr", "1e-3", [f"finetune.{LAYERS}.lr", "'1e-3' (text)", "without quotes: 0.001"]),
    (f"{TOP}/lr", -1, [f"finetune.{LAYERS}.lr", "given:   -1\n", "a number from 1e-08 to 1"]),
    (f"{TOP}/layers", 99, [f"finetune.{LAYERS} (line ", "99", "this backbone has", "at most"]),
    (f"{TOP}/kind", "top_layer", [f"finetune.{LAYERS}", "'top_layer'", "did you mean 'top_layers'?"]),
    (f"{TOP}/kind", GONE, [f"finetune.{LAYERS}", "has no kind", "add kind: ", "top_layers"]),
    ("finetune/a.b", {"kind": "head_only"}, ["finetune.a.b", "'a.b' is not a name that can be used"]),
    ("strategies", [], ["strategies", "given:   [] (a list of 0)", "at least 1"]),
    ("strategies", "all", ["strategies", "'all' (text)", "put it into a list"]),
    ("strategies", [LAYERS, LAYERS], ["strategies (line ", f"'{LAYERS}' is listed twice", "remove one of the two"]),
    ("strategies", ["top_layrs"], ["no strategy 'top_layrs'", LAYERS, "did you mean 'top_layers'?"]),
    ("finetune", {}, ["finetune has no strategy", "none: finetune is empty"]),
    ("finetune", None, ["finetune", "given:   null (nothing)"]),
    ("data", 3, ["data", "given:   3\n", "a mapping"]),
]


def put(data: dict[str, Any], path: str, value: Any) -> None:
    *parents, last = path.split("/")
    for part in parents:
        data = data[part]
    data[last] = value
    if value is GONE:
        del data[last]


@pytest.mark.parametrize(("place", "value", "expected"), WRONG)
def test_a_mistake_is_refused_with_a_way_out(tmp_path: Path, place: str, value: Any, expected: list[str]):
    text = refusal(tmp_path, lambda data: put(data, place, value)) + "\n"
    assert [part for part in expected if part not in text] == [], text
    assert "pydantic" not in text


def test_problems_within_and_across_sections_are_told_at_once(tmp_path: Path):
    def edit(data: dict[str, Any]) -> None:
        data["training"]["seed"] = "x"
        data["finetune"][LAYERS]["layers"] = 99
        data["strategies"].append("absent")
        data["extra"] = 1

    text = refusal(tmp_path, edit)
    for part in ("training.seed", f"finetune.{LAYERS} (line", "'absent'", "extra"):
        assert part in text


def test_a_strategy_that_was_probably_meant_is_not_also_called_useless(tmp_path: Path):
    text = refusal(tmp_path, lambda data: data["strategies"].__setitem__(data["strategies"].index(LAYERS), LAYERS[:-1]))
    assert f"did you mean {LAYERS!r}?" in text
    assert "changes nothing" not in text


def with_auto(data: dict[str, Any]) -> None:
    data["strategies"] = ["auto"]
    data["finetune"]["auto"] = {"kind": "auto", "race": True}


def test_entries_that_are_not_listed_are_what_auto_may_choose_from(tmp_path: Path):
    data = copy.deepcopy(SHIPPED)
    with_auto(data)
    params = load_params(write(tmp_path, data))
    assert outline(params, 2) == {}


def test_auto_needs_something_to_choose_from(tmp_path: Path):
    def edit(data: dict[str, Any]) -> None:
        with_auto(data)
        data["finetune"] = {"auto": data["finetune"]["auto"]}

    text = refusal(tmp_path, edit)
    assert "finetune.auto (line " in text
    assert "has nothing to choose from" in text


def test_parameters_are_counted_by_group_and_for_the_head():
    params = load_params(ROOT / "params.yaml")
    counts = {group: size.total for group, size in outline(params, 10)["head_only"][1].items()}
    encoder = params.backbone.encoder()
    assert sum(counts.values()) - counts[HEAD] == sum(parameter.numel() for parameter in encoder.parameters())
    assert counts[HEAD] == (encoder.feature_dim + 1) * 10
    assert list(counts) == [*encoder.groups, HEAD]


def key_paths(data: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for key, value in data.items() if isinstance(data, dict) else ():
        if path != ("finetune",):
            yield (*path, key)
        yield from key_paths(value, (*path, key))


LETTERS = st.sampled_from("abcdefghijklmnopqrstuvwxyz_0")


@st.composite
def typos(draw: st.DrawFn, word: str) -> str:
    """One character too many, too few, another, or two that have changed places."""
    at = draw(st.integers(0, len(word) - 1))
    kind = draw(st.sampled_from(["insert", "drop", "replace", "swap"]))
    if kind == "insert":
        return word[:at] + draw(LETTERS) + word[at:]
    if kind == "drop":
        return word[:at] + word[at + 1 :]
    if kind == "replace":
        return word[:at] + draw(LETTERS) + word[at + 1 :]
    return word[:at] + word[at : at + 2][::-1] + word[at + 2 :]


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_typo_in_any_key_is_refused_and_the_right_key_suggested(draw: st.DataObject):
    path = draw.draw(st.sampled_from(sorted(key_paths(SHIPPED))))
    typo = draw.draw(typos(path[-1]))
    data = copy.deepcopy(SHIPPED)
    around = data
    for part in path[:-1]:
        around = around[part]
    assume(typo and typo not in around)
    around[typo] = around.pop(path[-1])
    with pytest.raises(ConfigError) as caught:
        parse(data, Params, "")
    text = str(caught.value)
    assert repr(typo) in text
    assert f"{path[-1]!r}" in next(line for line in text.splitlines() if "do:" in line and repr(path[-1]) in line)


def test_every_backbone_and_task_says_its_modality():
    assert {spec.modality for spec in members(AnyBackbone)} <= {"image", "text"}


TOKENS = read(ROOT / "recipes/token_classification_bert.yaml")


@pytest.mark.parametrize(
    ("place", "value", "expected"),
    [
        (
            "backbone/pooling",
            "mean",
            ["backbone.pooling (line ", "reads the features of every token", "set it to none"],
        ),
        ("task/kind", "text_classification", ["backbone.pooling", "set it to auto, pooler, cls or mean"]),
        ("data/source/kind", "text_table", ["data.source.kind (line ", "not labelled with", "the sources conll"]),
        ("training/balance", "sampling", ["training.balance (line ", "none, weights"]),
        ("training/monitor", "accuracy", []),
        ("training/monitor", "entity_macro_f1", []),
        ("training/monitor", "macro_f1", ["training.monitor (line ", "auto, entity_f1, entity_precision"]),
        ("compare/metric", "macro_f1", ["compare.metric (line ", "entity_f1, entity_precision"]),
        ("finetune/auto", {"kind": "auto", "race": True}, []),
        ("training/cache/noise", 0.1, ["training.cache.noise", "set it to 0"]),
    ],
)
def test_what_a_task_on_words_does_not_have_is_refused(tmp_path: Path, place: str, value: Any, expected: list[str]):
    data = copy.deepcopy(TOKENS)
    put(data, place, value)
    if place == "data/source/kind":
        data["data"]["source"] = {"kind": "text_table", "path": "x", "table": "x.csv"}
    if place == "task/kind":
        del data["task"]["stride"]
    if place == "finetune/auto":
        data["strategies"].append("auto")
    path = write(tmp_path, data)
    if not expected:
        load_params(path)
        return
    with pytest.raises(ConfigError) as caught:
        load_params(path)
    assert [part for part in expected if part not in str(caught.value)] == [], str(caught.value)


def test_classifiers_refuse_the_figures_of_entities(tmp_path: Path):
    text = refusal(tmp_path, lambda data: put(data, "training/monitor", "entity_f1"))
    assert "training.monitor (line " in text
    assert "auto, accuracy, balanced_accuracy, macro_f1, log_loss, brier, ece, auroc, loss" in text


@pytest.mark.parametrize("task", members(AnyTask), ids=lambda task: task.__name__)
def test_epochs_can_be_compared_by_whatever_strategies_are(task: Any):
    monitors = set(get_args(Training.model_fields["monitor"].annotation))
    assert set(task.metrics) <= set(task.monitors) <= monitors
    assert set(task.metrics) <= set(get_args(Compare.model_fields["metric"].annotation))
    assert task.monitors[0] == task.metrics[0]


def test_what_has_a_default_can_be_left_out(tmp_path: Path):
    data = copy.deepcopy(SHIPPED)
    del data["training"]["weight_decay"]
    data["finetune"][LAYERS] = {"kind": "top_layers", "layers": 3}
    training = load_params(write(tmp_path, data)).training
    assert (training.monitor, training.patience, training.weight_decay) == ("auto", None, "auto")


def test_a_stride_beyond_the_windows_is_refused_by_the_check():
    task = TokenClassification(stride=30)
    backbone = parse(TOKENS["backbone"] | {"max_length": 32}, AnyBackbone, "backbone")
    with pytest.raises(ConfigError, match="windows of 30 tokens cannot share 30"):
        task.preprocess(backbone.preprocess())
    assert task.model_copy(update={"stride": 29}).preprocess(backbone.preprocess()).stride == 29
