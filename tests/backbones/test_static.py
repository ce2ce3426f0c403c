"""Static embeddings: the mean of the vectors of a text's tokens, as model2vec computes it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from tlpipe import config
from tlpipe.backbones import AnyBackbone
from tlpipe.backbones.static import Static
from tlpipe.config import ConfigError
from tlpipe.preprocess.text import Tokenizer, load_tokenizer

TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "warm", "##er", "wind"]
TEXTS = [("warmer wind",), ("wind",), ("storm",), ("storm wind",)]


def publish(folder: Path, tensors: dict[str, Tensor], normalize: bool = False) -> Path:
    """A folder as model2vec writes it, with a tokenizer that puts special tokens around texts."""
    from tokenizers import Tokenizer as Fast
    from tokenizers import models, normalizers, pre_tokenizers, processors

    fast = Fast(models.WordPiece({token: at for at, token in enumerate(TOKENS)}, unk_token="[UNK]"))
    fast.normalizer, fast.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    fast.add_special_tokens(TOKENS[:4])
    fast.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    fast.save(str(folder / "tokenizer.json"))
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"model_type": "model2vec", "normalize": normalize}))
    return folder


def features(folder: Path, **more: Any) -> np.ndarray:
    backbone: Static = config.parse({"kind": "static", "name": str(folder), **more}, AnyBackbone, "backbone")
    encoder, about = backbone.pretrained()
    assert about["sha256"] == backbone.resolved().sha256
    batch = Tokenizer(folder / "tokenizer.json", backbone.preprocess())(TEXTS)
    x = torch.from_numpy(np.stack([batch["input_ids"], batch["attention_mask"]], axis=1))
    with torch.no_grad():
        return encoder.eval()(x).numpy()


def reference(folder: Path, table: np.ndarray, normalize: bool) -> np.ndarray:
    """What model2vec's StaticModel.encode does: no special and no unknown tokens, the mean, its length 1 if wanted."""
    fast = load_tokenizer(folder / "tokenizer.json")
    rows = []
    for (text,) in TEXTS:
        ids = [at for at in fast.encode(text, add_special_tokens=False).ids if at != TOKENS.index("[UNK]")]
        mean = table[ids].mean(0) if ids else np.zeros(table.shape[1], np.float32)
        rows.append(mean / (np.linalg.norm(mean) + 1e-32) if normalize else mean)
    return np.stack(rows)


@pytest.mark.parametrize("normalize", [False, True])
def test_a_text_is_the_mean_of_its_tokens(tmp_path: Path, normalize: bool) -> None:
    table = torch.randn(7, 4, generator=torch.Generator().manual_seed(0))
    folder = publish(tmp_path, {"embeddings": table}, normalize)
    ours = features(folder)
    np.testing.assert_allclose(ours, reference(folder, table.numpy(), normalize), rtol=1e-6, atol=1e-7)
    assert not ours[2].any()


def test_tokens_that_share_a_row_and_have_weights(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(1)
    table, weights = torch.randn(3, 4, generator=generator), torch.rand(7, generator=generator)
    mapping = torch.tensor([0, 0, 0, 0, 1, 2, 1])
    folder = publish(tmp_path, {"embeddings": table.half(), "weights": weights, "mapping": mapping})
    whole = (table.half().float()[mapping] * weights[:, None]).numpy()
    np.testing.assert_allclose(features(folder), reference(folder, whole, False), rtol=1e-6, atol=1e-7)


def test_it_holds_the_contract_of_an_encoder(tmp_path: Path, contract: Any) -> None:
    folder = publish(tmp_path, {"embedding.weight": torch.randn(7, 4)})
    x = torch.tensor([[[2, 4, 5, 3], [1, 1, 1, 1]], [[2, 6, 3, 0], [1, 1, 1, 0]]])
    encoder = Static(name=str(folder)).encoder()
    contract.partitions(encoder)
    contract.runs_by_group(encoder, x)
    contract.rebuilds(Static(name=str(folder)).encoder, x)
    assert Static(name=str(folder)).skeleton().groups == ("embeddings",)


def test_what_is_resolved_needs_no_folder(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    folder = publish(tmp_path / "a", {"embeddings": torch.randn(7, 4)})
    backbone = Static(name=str(folder)).resolved()
    folder.rename(tmp_path / "b")
    assert backbone.encoder().feature_dim == backbone.hidden_size == 4
    assert Static.model_validate_json(backbone.model_dump_json()) == backbone


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"other": torch.zeros(7, 4)}, "holds no table of vectors under embeddings or"),
        ({"embeddings": torch.zeros(5, 4)}, "7 tokens, and the table of vectors 5 rows"),
        ({"embeddings": torch.zeros(2, 4), "mapping": torch.full((7,), 3)}, "names rows that the table"),
        ({"embeddings": torch.zeros(7, 4), "weights": torch.zeros(3)}, "3 weights for 7 tokens"),
    ],
)
def test_tables_that_do_not_fit_are_refused(tmp_path: Path, tensors: dict[str, Tensor], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Static(name=str(publish(tmp_path, tensors))).pretrained()
