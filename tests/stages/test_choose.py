"""The choose stage: two networks of one's own, of which one sees nothing."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from ruamel.yaml import YAML
from torch import nn

from tests.backbones.test_static import TOKENS, publish
from tlpipe import config
from tlpipe.advise import passes
from tlpipe.advise.choice import Cost, read_choice
from tlpipe.backbones.auto import CHOSEN, Auto
from tlpipe.backbones.offers import Offer
from tlpipe.config import ConfigError, read
from tlpipe.data.spec import Data
from tlpipe.params import load_params, outline
from tlpipe.project.pipeline import pipeline
from tlpipe.stages import choose
from tlpipe.tasks.union import ImageClassification

ROOT = Path(__file__).resolve().parents[2]
MODEL = """
from torch import nn

def net():
    return nn.Sequential(nn.Conv2d(3, 6, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 5))
"""


Raw = dict[str, Any]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(choose, "hash_code", lambda stage: "")  # looking through the code takes seconds
    monkeypatch.delitem(sys.modules, "chosen_nets", raising=False)
    (tmp_path / "chosen_nets.py").write_text(MODEL)
    torch.manual_seed(0)
    sees = nn.Sequential(nn.Conv2d(3, 6, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 5))
    torch.save(sees.state_dict(), "sees.pth")
    with torch.no_grad():
        sees[0].weight.mul_(1e-6)
    torch.save({name: value * 0 for name, value in sees.state_dict().items()}, "blind.pth")
    generator = np.random.default_rng(0)
    for label, colour in (("red", (200, 60, 60)), ("green", (60, 200, 60))):
        (tmp_path / "photos" / label).mkdir(parents=True)
        for at in range(12):
            pixels = np.clip(np.array(colour) + generator.normal(0, 40, (20, 20, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / label / f"{at}.png")
    params = read(ROOT / "params.yaml")
    params["data"]["source"]["path"] = "photos"
    params["data"]["split"]["test"] = 0.2
    params["data"]["limit_per_class"] = None
    params["data"]["checks"]["near_duplicates"] = None
    params["strategies"], params["finetune"] = ["head_only"], {"head_only": {"kind": "head_only"}}
    params["runtime"] |= {"device": "cpu", "precision": "fp32", "threads": 1}
    params["backbone"] = {
        "kind": "auto",
        "among": [entry("blind.pth"), entry("sees.pth")],
        "budget": {"milliseconds": 50},
    }
    write(params)
    yield params
    sys.modules.pop("chosen_nets", None)


def entry(path: str) -> dict[str, Any]:
    architecture = {"library": "module", "name": "chosen_nets:net"}
    return {"kind": "checkpoint", "path": path, "architecture": architecture, "inputs": {"size": 16, "resize_to": 16}}


def write(params: dict[str, Any]) -> None:
    with Path("params.yaml").open("w") as file:
        YAML().dump(params, file)


def quick(monkeypatch: pytest.MonkeyPatch, costs: dict[str, Cost]) -> None:
    monkeypatch.setattr(choose, "measure_cost", lambda backbone, task, packed: costs[backbone.path])


EQUAL = {"blind.pth": Cost(1, 1), "sees.pth": Cost(2, 1)}


def test_the_one_that_sees_is_chosen_and_stands_for_the_backbone(project: Raw, monkeypatch: pytest.MonkeyPatch) -> None:
    quick(monkeypatch, EQUAL)
    auto = load_params().backbone
    assert isinstance(auto, Auto)
    assert not auto.settled
    assert outline(load_params(), 2) == {}
    with pytest.raises(ConfigError, match=r"`dvc repro` writes data/backbone\.json"):
        auto.preprocess()
    choose.main()
    assert auto.settled
    assert auto.chosen().path == "sees.pth"
    assert auto.preprocess().size == 16
    assert auto.pretrained()[1]["origin"]
    assert auto.resolved().kind == "checkpoint"
    assert list(outline(load_params(), 2)) == list(project["strategies"])
    report = read_choice(Path(), "checkpoint")
    assert report is not None
    assert "sees.pth" in report["chosen"]
    accuracies = {row["backbone"]: row["accuracy"] for row in report["candidates"]}
    assert max(accuracies.values()) == 1
    assert min(accuracies.values()) < 0.8
    assert read_choice(Path(), "torchvision") is None


def test_a_choice_for_other_candidates_is_none(project: Raw, monkeypatch: pytest.MonkeyPatch) -> None:
    quick(monkeypatch, EQUAL)
    choose.main()
    project["backbone"]["among"] = [entry("blind.pth")]
    write(project)
    assert not load_params().backbone.settled


def test_what_is_over_the_budget_is_not_even_looked_at(project: Raw, monkeypatch: pytest.MonkeyPatch) -> None:
    quick(monkeypatch, {"blind.pth": Cost(1, 1), "sees.pth": Cost(51, 1)})
    choose.main()
    assert json.loads(CHOSEN.read_text())["backbone"]["path"] == "blind.pth"
    report = json.loads(Path("reports/backbone.json").read_text())
    assert [row["milliseconds"] for row in report["over_budget"]] == [51]
    assert len(report["candidates"]) == 1


def test_candidates_that_read_alike_are_told_apart(project: Raw, monkeypatch: pytest.MonkeyPatch) -> None:
    quick(monkeypatch, EQUAL)
    larger = {**entry("sees.pth"), "inputs": {"size": 18, "resize_to": 18}}
    project["backbone"]["among"] = [entry("sees.pth"), larger]
    write(project)
    choose.main()
    report = json.loads(Path("reports/backbone.json").read_text())
    assert sorted(row["backbone"][-8:] for row in report["candidates"]) == ["number 1", "number 2"]


def test_a_pass_is_kept(project: Raw, monkeypatch: pytest.MonkeyPatch) -> None:
    quick(monkeypatch, EQUAL)
    choose.main()
    first = CHOSEN.read_bytes(), Path("reports/backbone.json").read_bytes()
    monkeypatch.setattr(passes, "look", None)
    choose.main()
    assert first == (CHOSEN.read_bytes(), Path("reports/backbone.json").read_bytes())


@pytest.mark.slow
def test_costs_are_those_of_the_exported_model(project: Raw, tmp_path: Path) -> None:
    backbone, data = load_params().backbone.among[0], config.load("data", Data)
    cost = choose.measure_cost(
        backbone, ImageClassification(), choose.Arrays(data, "image_classification", tmp_path / "packed").of(backbone)
    )
    assert 0 < cost.milliseconds < 1000
    assert 0.001 < cost.megabytes < 0.1


def test_dvc_chooses_before_anything_else_and_watches_the_files(project: Raw) -> None:
    stages = YAML(typ="safe").load(pipeline(project))["stages"]
    assert stages["choose"]["deps"] == ["${data.source.path}", "${backbone.among[0].path}", "${backbone.among[1].path}"]
    assert stages["check"]["deps"] == ["data/backbone.json"]
    assert "data/backbone.json" in stages["pretrain"]["deps"]
    assert "reports/backbone.json" in stages["advise"]["deps"]
    assert "choose" not in YAML(typ="safe").load(pipeline(read(ROOT / "params.yaml")))["stages"]


def test_texts_are_compared_on_the_same_samples_whatever_their_tokens_are(
    project: Raw, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors = torch.randn(len(TOKENS), 8, generator=torch.Generator().manual_seed(0))
    for name, table in (("sees", vectors), ("blind", torch.ones_like(vectors))):
        (tmp_path / name).mkdir()
        publish(tmp_path / name, {"embeddings": table})
    (tmp_path / "texts").mkdir()
    lines = [f"{'warm ' * (at % 5)}{('wind', 'warmer')[at % 2]} {at},{('a', 'b')[at % 2]}" for at in range(40)]
    (tmp_path / "texts" / "all.csv").write_text("\n".join(["text,label", *lines]))
    project["task"] = {"kind": "text_classification"}
    project["data"]["source"] = {
        "kind": "text_table", "path": "texts", "table": "all.csv", "text_column": "text", "label_column": "label"
    }  # fmt: skip
    project["data"]["limit_per_class"] = None
    project["training"].pop("augment", None)
    among = [{"kind": "static", "name": str(tmp_path / name), "max_length": 16} for name in ("blind", "sees")]
    project["backbone"] = {"kind": "auto", "among": among}
    write(project)
    choose.main()
    report = json.loads(Path("reports/backbone.json").read_text())
    accuracies = {Path(row["backbone"].split(",")[0]).name: row["accuracy"] for row in report["candidates"]}
    assert accuracies["sees"] > 0.9 > 0.7 > accuracies["blind"]
    assert all(row["milliseconds"] > 0 and row["megabytes"] > 0 for row in report["candidates"])
    auto = load_params().backbone
    assert auto.preprocess().kind == "text"
    (tmp_path / "tokens").mkdir()
    auto.prepare_tokenizer(tmp_path / "tokens")
    assert (tmp_path / "tokens" / "tokenizer.json").is_file()
    assert "data/backbone.json" in pipeline(project).split("  tokenizer:")[1].split("  prepare:")[0]


def test_without_a_list_it_is_what_this_machine_has(project: Raw, monkeypatch: pytest.MonkeyPatch) -> None:
    quick(monkeypatch, EQUAL)
    sections = [entry("blind.pth"), entry("sees.pth"), {"kind": "timm", "name": "no_such_net"}]
    listed = [Offer("image", "here", section, "a name") for section in sections]
    monkeypatch.setattr(choose, "offers", lambda root, network: [*listed, Offer("text", "here", {}, "a text model")])
    project["backbone"].pop("among")
    write(project)
    choose.main()
    assert load_params().backbone.chosen().path == "sees.pth"
    monkeypatch.setattr(choose, "offers", lambda root, network: [])
    with pytest.raises(ConfigError, match="no pretrained weights for images are on this machine"):
        choose.main()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"task": {"kind": "token_classification"}}, "one label a sample only"),
        ({"backbone": {"kind": "auto", "among": [{"kind": "static", "name": "x"}]}}, "cannot use a backbone for texts"),
        ({"backbone": {"kind": "auto", "among": [entry("a.pth"), {"kind": "static", "name": "x"}]}}, "of one kind"),
    ],
)
def test_what_cannot_be_compared_is_refused(project: Raw, change: Raw, message: str) -> None:
    project |= change
    write(project)
    with pytest.raises(ConfigError, match=message):
        load_params()
