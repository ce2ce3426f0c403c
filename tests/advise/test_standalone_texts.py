"""`tlpipe advise` on tagged words and on questions: a file of them, or a params.yaml, with several backbones."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from ruamel.yaml import YAML
from typer.testing import CliRunner

from tests import asked, tagged
from tlpipe.advise.backbone import candidate
from tlpipe.advise.place import place_of
from tlpipe.advise.standalone import answers
from tlpipe.backbones.bert import Bert
from tlpipe.cli import app
from tlpipe.config import ConfigError
from tlpipe.tasks.union import QuestionAnswering, TokenClassification
from tlpipe.train.hardware.device import Machine
from tlpipe.train.pretraining.source import Source, save_source


def make_source(project: Path, spec: Bert, **zero: bool) -> Path:
    """`models/source` of a project, untrained, or with weights that are all zero."""
    torch.manual_seed(0)
    encoder, folder = spec.encoder(), project / "models/source"
    with torch.no_grad():
        for parameter in encoder.parameters() if zero else ():
            parameter.zero_()
    about = Source(
        backbone=spec, preprocess=spec.preprocess(), origin="here", sha256="", skipped=(), groups=encoder.groups,
        feature_dim=encoder.feature_dim,
    )  # fmt: skip
    save_source(folder, encoder, about)
    return folder


def params(path: Path, **content: Any) -> Path:
    with path.open("w") as file:
        YAML().dump(content, file)
    return path


@pytest.fixture
def words(tmp_path: Path) -> Path:
    """A file of tagged sentences."""
    (tmp_path / "raw").mkdir()
    path = tmp_path / "raw/names.conll"
    path.write_text(tagged.conll([tagged.sentence(seed) for seed in range(60)]))
    return path


@pytest.fixture
def source(tmp_path: Path) -> Path:
    tagged.write_tokenizer(tmp_path / "data/tokenizer")
    return make_source(tmp_path, tagged.BACKBONE.model_copy(update={"max_length": 64}))


def test_words_of_a_file_are_judged_by_their_entities(words: Path, source: Path, machine: Machine) -> None:
    (found,) = answers(words, [str(source)], machine)
    content = found.advice.summary()
    assert (content["score"], content["evidence"]["samples"], content["experience"]["doubt"]) == ("entity_f1", 60, 2.0)
    assert 0 < content["evidence"]["all_depths"]["accuracy"] < 1


def test_backbones_for_words_are_ranked(words: Path, source: Path, tmp_path: Path, machine: Machine) -> None:
    tagged.write_tokenizer(tmp_path / "other/data/tokenizer")
    blind = make_source(tmp_path / "other", tagged.BACKBONE.model_copy(update={"max_length": 64}), zero=True)
    found = answers(words, [str(blind), str(source)], machine)
    assert [answer.backbone for answer in found] == [str(source), str(blind)]


def test_a_params_file_says_what_is_asked_and_of_which_strategies(tmp_path: Path, machine: Machine) -> None:
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw/a.json").write_text(json.dumps({"data": asked.articles(24)}))
    asked.write_tokenizer(tmp_path / "data/tokenizer")
    folder = make_source(tmp_path, asked.BACKBONE)
    source = {"kind": "squad", "path": str(tmp_path / "raw"), "file": "a.json"}
    path = params(
        tmp_path / "mine.yaml",
        task=asked.TASK.model_dump(),
        data={"source": source, "split": {"validation": 0.25, "test": 0.25}},
        finetune={"frozen": {"kind": "head_only"}, "best": {"kind": "auto", "race": False}},
    )
    (found,) = answers(path, [str(folder)], machine)
    content = found.advice.summary()
    assert content["score"] == "place_accuracy"
    assert content["evidence"]["samples"] < 72  # the test split stays unseen
    assert [option["strategy"] for option in content["ranking"]] == ["frozen"]


def test_the_command_names_the_figure(words: Path, source: Path) -> None:
    shown = CliRunner().invoke(app, ["advise", str(words), "--backbone", str(source)], env={"COLUMNS": "160"})
    assert shown.exit_code == 0, shown.output
    for word in ("predicted entity F1", "held-out sentences", "entities a type", "hold by assumption"):
        assert word in shown.stdout


def test_what_a_path_is(words: Path, tmp_path: Path) -> None:
    place = place_of(words)
    assert isinstance(place.task, TokenClassification)
    assert not place.unseen
    (tmp_path / "raw/a.json").write_text(json.dumps({"data": asked.articles(2)}))
    assert isinstance(place_of(tmp_path / "raw/a.json").task, QuestionAnswering)
    (tmp_path / "raw/a.pdf").write_text("")
    with pytest.raises(ConfigError, match=r"no file that advice can be asked for; allowed: a folder"):
        place_of(tmp_path / "raw/a.pdf")
    with pytest.raises(ConfigError, match="has no section data"):
        place_of(params(tmp_path / "half.yaml", task={"kind": "token_classification"}))


def test_a_backbone_that_does_not_fit_the_task_is_refused(tmp_path: Path, source: Path) -> None:
    with pytest.raises(ConfigError, match="bert reads texts, and image_classification learns from images"):
        candidate(str(source), None, 0)
    whole = make_source(tmp_path / "whole", tagged.BACKBONE.model_copy(update={"pooling": "mean"}))
    with pytest.raises(ConfigError, match=r"those of whole texts, .* set backbone.pooling to none"):
        candidate(str(whole), None, 0, TokenClassification())


def test_published_weights_by_a_short_form(tmp_path: Path, words: Path, machine: Machine) -> None:
    from transformers import BertConfig, BertModel

    folder = tmp_path / "published"
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=120, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32
    )
    BertModel(config).save_pretrained(folder)
    tagged.write_tokenizer(folder)
    (found,) = answers(words, [f"huggingface:{folder}"], machine, size=64)
    assert found.advice.evidence.score.name == "entity_f1"
    assert candidate(f"huggingface:{folder}", None, 0, TokenClassification()).preprocess.max_length == 128
