"""`tlpipe advise` on a folder and on a table, with several backbones, without a pipeline."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from ruamel.yaml import YAML
from typer.testing import CliRunner

from tlpipe.advise.backbone import candidate
from tlpipe.advise.standalone import answers, default_strategies
from tlpipe.backbones.letters import Letters
from tlpipe.cli import app
from tlpipe.config import ConfigError
from tlpipe.train.hardware.device import Machine
from tlpipe.train.pretraining.source import Source, save_source


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the pretrain stage writes, untrained."""
    folder, spec = tmp_path_factory.mktemp("source"), Letters(width=4)
    torch.manual_seed(0)
    encoder = spec.encoder()
    about = Source(
        backbone=spec, preprocess=spec.preprocess(), origin="here", sha256="", skipped=(), groups=encoder.groups,
        feature_dim=encoder.feature_dim,
    )  # fmt: skip
    save_source(folder, encoder, about)
    return folder


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of stripes, and a table that names them."""
    root, generator = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    lines = []
    for index in range(48):
        label = ("across", "down")[index % 2]
        wave = 60 * np.sin(np.arange(32) * generator.uniform(0.6, 1.2) + generator.uniform(0, 6))
        pixels = np.broadcast_to(wave if index % 2 else wave[:, None], (32, 32))
        (root / label).mkdir(exist_ok=True)
        light = np.clip(128 + pixels + generator.normal(0, 30, (32, 32)), 0, 255).astype(np.uint8)
        Image.fromarray(light).convert("RGB").save(root / label / f"{index}.png")
        lines.append({"image": f"{label}/{index}.png", "label": label})
    with (root / "table.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["image", "label"])
        writer.writeheader()
        writer.writerows(lines)
    return root


def test_a_folder_and_its_table_get_the_same_advice(images: Path, source: Path, machine: Machine) -> None:
    (folder,) = answers(images, [str(source)], machine)
    (table,) = answers(images / "table.csv", [str(source)], machine)
    assert folder.advice.evidence.samples == 48
    assert folder.advice.evidence.summary()["all_depths"] == table.advice.evidence.summary()["all_depths"]
    assert {option.name for option in folder.advice.options} == set(default_strategies(("a", "b")))
    assert folder.advice.recommended.name == table.advice.recommended.name


def test_a_test_split_of_ones_own_stays_unseen(images: Path, source: Path, tmp_path: Path, machine: Machine) -> None:
    for index, path in enumerate(sorted(images.glob("*/*.png"))):
        target = tmp_path / ("test" if index % 4 == 0 else "train") / path.parent.name / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    (found,) = answers(tmp_path, [str(source)], machine)
    assert found.advice.evidence.samples == 36


def test_backbones_are_ranked_by_what_is_expected_of_the_best_strategy(
    images: Path, source: Path, tmp_path: Path, machine: Machine
) -> None:
    blind = Letters(width=4).encoder()
    with torch.no_grad():
        for parameter in blind.parameters():
            parameter.zero_()
    about = Source.model_validate_json((source / "source.json").read_text())
    save_source(tmp_path / "blind", blind, about)
    found = answers(images, [str(tmp_path / "blind"), str(source)], machine)
    assert [answer.backbone for answer in found] == [str(source), str(tmp_path / "blind")]


def test_the_strategies_of_a_params_file_are_judged(
    images: Path, source: Path, tmp_path: Path, machine: Machine
) -> None:
    params = tmp_path / "mine.yaml"
    params.write_text("finetune:\n  frozen: {kind: head_only}\n  best: {kind: auto, race: false}\n")
    (found,) = answers(images, [str(source)], machine, params)
    assert [option.name for option in found.advice.options] == ["frozen"]


@pytest.mark.parametrize(
    "form", ["resnet18", "torchvision:", "checkpoint:file.pth", "checkpoint:@timm:resnet18", "letters:width"]
)
def test_a_form_that_names_nothing_is_refused_with_all_forms(form: str) -> None:
    with pytest.raises(ConfigError, match=r"names no backbone; allowed: torchvision:NAME"):
        candidate(form, None, 0)


def test_weights_of_ones_own(tmp_path: Path) -> None:
    torchvision = pytest.importorskip("torchvision")
    torch.manual_seed(3)
    model = torchvision.models.squeezenet1_1()
    torch.save(model.state_dict(), tmp_path / "own.pth")
    found = candidate(f"checkpoint:{tmp_path / 'own.pth'}@torchvision:squeezenet1_1", 64, seed=0)
    assert (found.preprocess.size, found.preprocess.resize_to) == (64, 73)
    own = {tuple(value.shape): value for value in model.features.state_dict().values()}
    first = next(found.encoder.parameters())
    assert torch.equal(first, own[tuple(first.shape)])
    assert not torch.equal(next(found.control.parameters()), first)


def test_a_backbone_that_is_trained_here_asks_for_its_folder(tmp_path: Path) -> None:
    params = tmp_path / "params.yaml"
    params.write_text("backbone: {kind: letters, width: 4}\n")
    with pytest.raises(ConfigError, match="give models/source"):
        candidate(str(params), None, 0)


def test_the_command_prints_a_table_with_reasons_or_json(images: Path, source: Path) -> None:
    run = CliRunner()
    arguments = ["advise", str(images), "--backbone", str(source), "--backbone", str(source)]
    shown = run.invoke(app, arguments, env={"COLUMNS": "160"})
    assert shown.exit_code == 0, shown.output
    for word in ("Which backbone?", "measured:", "recommended:", "region:", "labelled samples"):
        assert word in shown.stdout
    found = json.loads(run.invoke(app, [*arguments, "--json"]).stdout)
    assert [each["backbone"] for each in found] == [str(source)] * 2
    assert found[0]["ranking"][0]["reasons"]


def test_a_given_training_says_what_is_kept_and_how_long_epochs_are(
    images: Path, source: Path, tmp_path: Path, machine: Machine
) -> None:
    shipped = YAML(typ="safe").load(Path(__file__).parents[2] / "params.yaml")
    kind = {"kind": "top_layers", "layers": 1, "lr": "auto", "gamma": 0.7, "stage_epochs": None, "epochs": "auto"}
    passes = {}
    for name, views, batch in (("kept", 4, 16), ("anew", 0, 16), ("small batches", 4, 2)):
        training = shipped["training"] | {"batch_size": batch, "cache": shipped["training"]["cache"] | {"views": views}}
        given = tmp_path / f"{name}.yaml"
        YAML().dump({"finetune": {"top": kind}, "training": training}, given)
        (found,) = answers(images, [str(source)], machine, strategies=given)
        (option,) = found.advice.options
        passes[name] = option.seconds / found.advice.evidence.forward
    assert passes["anew"] > 1.2 * passes["kept"]
    # with batch norms the rule wants passes by the number of samples, whatever the batches
    assert passes["small batches"] == pytest.approx(passes["kept"])
