"""Weights of the family from a folder: laid over exactly or refused, and no network after they were read."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForMaskedLM, BertForPreTraining

from tests.backbones.test_text import CONFIGS, inputs
from tlpipe.backbones.huggingface import HuggingFace
from tlpipe.config import ConfigError
from tlpipe.data.corpus import train_wordpiece


def publish(folder: Path, name: str) -> Path:
    """A folder as save_pretrained makes it, with a language-model head that is not ours."""
    settings = {key: value for key, value in CONFIGS[name].items() if key != "model_type"}
    config = AutoConfig.for_model(CONFIGS[name]["model_type"], **settings)
    torch.manual_seed(5)
    model = BertForPreTraining(config) if name == "bert" else AutoModelForMaskedLM.from_config(config)
    model.save_pretrained(folder / name)
    train_wordpiece(["a b c"], 60, True, folder / name / "tokenizer.json")
    return folder / name


@pytest.mark.parametrize("name", CONFIGS)
def test_published_weights_give_the_published_function(tmp_path: Path, name: str):
    folder, x = publish(tmp_path, name), inputs(name)
    backbone = HuggingFace(name=str(folder), pooling="pooler" if name == "bert" else "mean", max_length=30)
    assert backbone.preprocess().token_types is (x.shape[1] == 3)
    encoder, about = backbone.pretrained()
    assert about["origin"] == str(folder)
    assert about["skipped"]
    whole = (BertForPreTraining if name == "bert" else AutoModelForMaskedLM).from_pretrained(folder).eval()
    arguments = {"input_ids": x[:, 0], "attention_mask": x[:, 1]}
    arguments |= {"token_type_ids": x[:, 2]} if x.shape[1] == 3 else {}
    with torch.no_grad():
        states = whole.base_model(**arguments).last_hidden_state
        ours = encoder.eval().run(encoder.run(x, 0, 4), 4) if name != "bert" else encoder.eval()(x)
        if name == "bert":
            torch.testing.assert_close(ours, whole.base_model.pooler(states))
        else:
            shown = x[:, 1, :, None].float()
            torch.testing.assert_close(ours, (states * shown).sum(1) / shown.sum(1))


def test_what_is_resolved_needs_no_folder_any_more(tmp_path: Path):
    folder = publish(tmp_path, "bert")
    backbone = HuggingFace(name=str(folder), max_length=30).resolved()
    folder.rename(tmp_path / "elsewhere")
    assert backbone.encoder().groups == ("embeddings", "layer1", "layer2", "layer3", "pooler")
    assert backbone.preprocess().pad_id == 0
    again = HuggingFace.model_validate_json(backbone.model_dump_json())
    assert again == backbone


@pytest.mark.parametrize("name", CONFIGS)
def test_the_skeleton_takes_no_memory(name: str):
    encoder = HuggingFace(name="nowhere", pooling="mean", max_length=30, config=CONFIGS[name]).skeleton()
    assert {parameter.device.type for parameter in encoder.parameters()} == {"meta"}


def test_the_tokenizer_is_copied(tmp_path: Path):
    folder = publish(tmp_path, "bert")
    (tmp_path / "out").mkdir()
    HuggingFace(name=str(folder)).prepare_tokenizer(tmp_path / "out")
    assert (tmp_path / "out/tokenizer.json").read_bytes() == (folder / "tokenizer.json").read_bytes()


def test_weights_without_a_pooler_are_refused_with_a_way_out(tmp_path: Path):
    folder = publish(tmp_path, "roberta")
    with pytest.raises(ConfigError, match=r"set backbone\.pooling to mean or cls"):
        HuggingFace(name=str(folder), pooling="pooler", max_length=30).pretrained()


def test_weights_of_another_shape_are_refused_by_name(tmp_path: Path):
    folder = publish(tmp_path, "bert")
    file = folder / "model.safetensors"
    save_file({**load_file(file), "bert.pooler.dense.bias": torch.zeros(3)}, file, {"format": "pt"})
    with pytest.raises(ConfigError, match=r"another shape: pooler\.dense\.bias \(file \(3,\)"):
        HuggingFace(name=str(folder), max_length=30).pretrained()


def test_what_is_missing_is_named(tmp_path: Path):
    folder = publish(tmp_path, "bert")
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ConfigError, match=r"has no tokenizer\.json.*save_pretrained"):
        HuggingFace(name=str(folder)).prepare_tokenizer(tmp_path)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "t5"}))
    with pytest.raises(ConfigError, match=r"is a t5; allowed: .*bert"):
        HuggingFace(name=str(folder)).preprocess()
    (folder / "config.json").write_text("{")
    with pytest.raises(ConfigError, match="not JSON"):
        HuggingFace(name=str(folder)).preprocess()
    with pytest.raises(ConfigError, match="no folder here, and the hub"):
        HuggingFace(name=str(tmp_path / "x/y/z")).preprocess()
