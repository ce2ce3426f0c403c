"""Training that takes more memory than there is is refused before anything runs, with what to lower."""

from typing import Any

import pytest
import torch

from tlpipe.code.names import ROOT
from tlpipe.config import ConfigError
from tlpipe.params import Params, load_params, outline
from tlpipe.project import memory
from tlpipe.project.memory import activations, require_memory
from tlpipe.ram import Available
from tlpipe.train.hardware.device import Machine

CPU = Machine(torch.device("cpu"), torch.float32, False)


def params_of(recipe: str, **training: Any) -> Params:
    params = load_params(ROOT / recipe)
    return params.model_copy(update={"training": params.training.model_copy(update=training)})


def test_what_does_not_fit_is_refused_with_what_would_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available_memory", lambda: Available(10**9, "of the machine's"))
    few, many = params_of("params.yaml"), params_of("params.yaml", batch_size=1000)
    (line,) = require_memory(few, CPU, 10)
    assert line.endswith("of 1 GB that are available")
    with pytest.raises(ConfigError) as refused:
        require_memory(many, CPU, 10)
    words = str(refused.value)
    assert "finetune@all_layers needs about" in words or "finetune@scratch needs about" in words
    assert "1 GB of the machine's memory are available" in words
    assert "lower training.batch_size (it is 1000), or choose a smaller backbone" in words
    assert "top_layers (" in words.split("; ")[-1]


def test_processes_each_have_their_own_weights() -> None:
    one = params_of("params.yaml")
    two = one.model_copy(update={"runtime": one.runtime.model_copy(update={"processes": 2})})
    alone, together = ({need.name: need for need in memory._needs(each, CPU, 10)} for each in (one, two))
    assert together["all_layers"].state == 2 * alone["all_layers"].state
    assert together["all_layers"].batch == alone["all_layers"].batch


def test_activations_are_those_that_the_backward_pass_keeps() -> None:
    params = params_of("params.yaml")
    plan = outline(params, 10)["all_layers"][0]
    whole, top = activations(params, plan, plan.phases[-1]), activations(params, plan, plan.phases[0])
    width, edge = params.backbone.width, 32  # type: ignore[union-attr]
    assert whole > 4 * 2 * 3 * width * edge * edge, "each convolution of the first stage keeps its input and its output"
    assert 0 < top < whole


def test_texts_are_counted_at_their_greatest_length() -> None:
    params = params_of("recipes/text_classification_bert.yaml")
    plan = outline(params, 2)["all_layers"][0]
    shorter = params.model_copy(update={"backbone": params.backbone.model_copy(update={"max_length": 16})})
    assert activations(params, plan, plan.phases[-1]) > activations(shorter, plan, plan.phases[-1])


def test_where_nothing_is_known_nothing_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available_memory", lambda: None)
    assert require_memory(params_of("params.yaml"), CPU, 10) == []
