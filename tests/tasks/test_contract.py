"""Contract of a task: each kind in the union has every facet, and the package asks for no other ones."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from pydantic import BaseModel, TypeAdapter

from tlpipe.config import members
from tlpipe.evaluate.judged import Judged
from tlpipe.metric_facts import facts
from tlpipe.serve.reading import Reading
from tlpipe.tasks import FACETS, facet, kinds
from tlpipe.tasks.base import Task
from tlpipe.tasks.union import AnyTask

ROOT = Path(__file__).resolve().parents[2]
UNION: dict[str, type[Task]] = {get_args(spec.model_fields["kind"].annotation)[0]: spec for spec in members(AnyTask)}
EVERY = [(kind, f"{file}:{name}") for kind in UNION for file, names in FACETS.items() for name in names]


def protocol_of(contract: type) -> set[str]:
    """The names that a protocol or a base class asks for."""
    return {name for name in (*vars(contract), *contract.__annotations__) if not name.startswith("_")}


def test_the_union_is_the_folders() -> None:
    assert set(kinds()) == set(UNION)
    for kind, spec in UNION.items():
        assert spec.__module__ == f"tlpipe.tasks.{kind}.spec"


@pytest.mark.parametrize(("kind", "name"), EVERY, ids=[f"{kind}-{name}" for kind, name in EVERY])
def test_a_task_has_every_facet(kind: str, name: str) -> None:
    value = facet(kind, name)
    assert callable(value) or name.split(":")[1].isupper(), f"{kind} has {value!r} for {name}"


@pytest.mark.parametrize("kind", UNION)
def test_the_classes_of_a_task_keep_their_contracts(kind: str) -> None:
    predictions = facet(kind, "evaluation:Predictions")
    missing = protocol_of(Judged) - set(dir(predictions)) - {field.name for field in fields(predictions)}
    assert not missing, f"{kind}: Predictions has no {', '.join(sorted(missing))}"
    for preprocessing, reading in facet(kind, "serving:READINGS").items():
        missing = {name for name in protocol_of(Reading) if not hasattr(reading, name)}
        assert not missing, f"{kind}: the reading of {preprocessing} has no {', '.join(sorted(missing))}"
        assert set(reading.bodies), f"{kind} takes no request"
        for body in reading.bodies.values():
            assert TypeAdapter(body).json_schema()


def about(fact: Any) -> tuple[str, bool, bool, bool]:
    """What people and intervals know of a metric."""
    return fact.title, fact.higher_is_better, fact.share, fact.centre


@pytest.mark.parametrize("kind", UNION)
def test_a_spec_says_how_epochs_and_strategies_are_compared(kind: str) -> None:
    spec = UNION[kind]
    metrics, epochs = (facet(kind, f"metrics:{name}") for name in FACETS["metrics"])
    assert spec.metrics == tuple(metrics)
    assert spec.monitors == tuple(dict.fromkeys((*metrics, *epochs, "loss")))
    for name, fact in metrics.items():
        assert about(fact) == about(facts()[name]), f"{name} means another thing in another task"
    assert spec.tempered <= set(spec.metrics) | Task.tempered
    assert "none" in spec.balances
    assert spec.outputs[0] == "logits"


def asked_for() -> Iterator[str]:
    """The literal names that the package calls `facet` with."""
    for path in (ROOT / "tlpipe").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "facet":
                name = node.args[1]
                assert isinstance(name, ast.Constant), f"{path}: fingerprints cannot follow {ast.unparse(node)}"
                yield str(name.value)


def test_the_package_asks_for_all_facets_and_no_others() -> None:
    assert set(asked_for()) == {name for _, name in EVERY}


@pytest.mark.parametrize("kind", UNION)
@pytest.mark.parametrize("file", ["metrics", "samples", "evaluation", "serving"])
def test_light_facets_load_no_torch(kind: str, file: str) -> None:
    code = f"import sys, tlpipe.tasks.{kind}.{file}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


@pytest.mark.parametrize("name", ["evaluation:Nothing", "nothing:READINGS"])
def test_another_facet_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="tasks have no facet"):
        facet("image_classification", name)


def test_another_task_is_refused() -> None:
    with pytest.raises(ValueError, match="no task 'images'; there are image_classification, "):
        facet("images", "serving:READINGS")


def test_answers_are_described_with_the_names_of_the_bundle() -> None:
    reading = facet("image_classification", "serving:READINGS")["image"]
    labels = reading.__new__(reading)
    labels.labels = ("ant", "bee")
    model: type[BaseModel] = labels.answer_model()
    answer = labels.answer(None, [{"probabilities": np.array([0.25, 0.75], np.float32)}], 2)
    assert model.model_validate(answer, strict=True).model_dump() == answer
    assert model.model_json_schema()["$defs"]["Label"]["properties"]["label"]["enum"] == ["ant", "bee"]
