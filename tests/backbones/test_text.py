"""Every family: groups partition the parameters, and group by group is the model's own forward, bit for bit."""

from typing import Any

import pytest
import torch
from torch import Tensor

from tlpipe.backbones.text import TextEncoder, build, mean
from tlpipe.config import ConfigError

SIZES = {
    "vocab_size": 60, "hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 32,
    "max_position_embeddings": 40, "pad_token_id": 0,
}  # fmt: skip
CONFIGS: dict[str, dict[str, Any]] = {
    "bert": {"model_type": "bert", **SIZES},
    "roberta": {"model_type": "roberta", **SIZES, "pad_token_id": 1, "type_vocab_size": 1},
    "distilbert": {
        "model_type": "distilbert", "vocab_size": 60, "dim": 16, "n_layers": 3, "n_heads": 2, "hidden_dim": 32,
        "max_position_embeddings": 40,
    },
    "electra": {"model_type": "electra", **SIZES, "embedding_size": 8},
    "deberta-v3": {
        "model_type": "deberta-v2", **SIZES, "relative_attention": True, "position_buckets": 8, "conv_kernel_size": 3,
        "norm_rel_ebd": "layer_norm", "pos_att_type": ["p2c", "c2p"], "share_att_key": True,
        "position_biased_input": False, "type_vocab_size": 0, "conv_act": "gelu",
    },
    "modernbert": {
        "model_type": "modernbert", **SIZES, "global_attn_every_n_layers": 2, "local_attention": 8,
        "cls_token_id": 2, "sep_token_id": 3, "bos_token_id": 2, "eos_token_id": 3,
    },
    "xlm-roberta": {"model_type": "xlm-roberta", **SIZES, "pad_token_id": 1, "type_vocab_size": 1},
    "mpnet": {"model_type": "mpnet", **SIZES, "pad_token_id": 1},
    "albert": {"model_type": "albert", **SIZES, "embedding_size": 8, "num_hidden_layers": 6, "num_hidden_groups": 3},
    "nomic": {"model_type": "nomic_bert", **SIZES},
    "gte": {"model_type": "gte", **SIZES, "type_vocab_size": 1},
}  # fmt: skip
POOLER = ("bert", "roberta", "xlm-roberta", "mpnet", "albert")
PADDED_WITH_1 = ("roberta", "xlm-roberta", "mpnet")


def make(name: str, pooling: str = "") -> TextEncoder:
    torch.manual_seed(0)
    encoder = build(CONFIGS[name], pooling or ("pooler" if name in POOLER else "cls"), 30)
    with torch.no_grad():
        for parameter in encoder.parameters():  # biases and norms away from their special values
            parameter.add_(0.02 * torch.randn_like(parameter))
    return encoder.eval()


def batch(pad: int = 0, lengths: tuple[int, ...] = (12, 7, 3)) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    x = torch.zeros(len(lengths), 3, max(lengths), dtype=torch.long)
    x[:, 0] = pad
    for row, length in zip(x, lengths, strict=True):
        row[0, :length] = torch.randint(5, 60, (length,), generator=generator)
        row[1, :length] = 1
        row[2, length // 2 : length] = 1
    return x


def inputs(name: str) -> Tensor:
    x = batch(pad=1 if name in PADDED_WITH_1 else 0)
    return x if name in ("bert", "electra", "albert", "nomic") else x[:, :2]


def own_forward(name: str, encoder: TextEncoder, x: Tensor) -> Tensor:
    arguments = {"input_ids": x[:, 0], "attention_mask": x[:, 1]}
    if x.shape[1] > 2:
        arguments["token_type_ids"] = x[:, 2]
    output = encoder.model(**arguments)
    return output.pooler_output if encoder.pooling == "pooler" else output.last_hidden_state[:, 0]


@pytest.mark.parametrize("name", CONFIGS)
def test_groups_partition_the_parameters(name: str):
    encoder = make(name)
    owned = [id(parameter) for group in encoder.groups for _, parameter in encoder.parameters_of(group)]
    assert len(owned) == len(set(owned))
    assert set(owned) == {id(parameter) for parameter in encoder.parameters()}
    names = {qualified for group in encoder.groups for qualified, _ in encoder.parameters_of(group)}
    assert names == {qualified for qualified, _ in encoder.named_parameters()}
    assert encoder.groups[:2] == ("embeddings", "layer1")


@pytest.mark.parametrize("name", CONFIGS)
@torch.no_grad()
def test_group_by_group_is_the_models_own_forward_bit_for_bit(name: str):
    encoder, x = make(name), inputs(name)
    expected = own_forward(name, encoder, x)
    assert torch.equal(encoder(x), expected)
    for cut in encoder.cuts:
        assert torch.equal(encoder.run(encoder.run(x, 0, cut), cut), expected), cut
    steps = x
    for start, stop in zip(encoder.cuts, encoder.cuts[1:], strict=False):
        steps = encoder.run(steps, start, stop)
    assert torch.equal(steps, expected)


@pytest.mark.parametrize("name", CONFIGS)
@torch.no_grad()
def test_padding_and_neighbours_change_nothing_but_rounding(name: str):
    encoder, x = make(name), inputs(name)
    together = encoder(x)
    for row, length in enumerate((12, 7, 3)):
        alone = encoder(x[row : row + 1, :, :length])
        torch.testing.assert_close(alone[0], together[row], rtol=0, atol=2e-5)


@pytest.mark.parametrize("name", CONFIGS)
def test_frozen_groups_give_the_same_bits_in_train_and_eval_and_get_no_gradient(name: str):
    encoder, x = make(name), inputs(name)
    cut = len(encoder.groups) - 1
    with torch.no_grad():
        expected = encoder.run(x, 0, cut)
    encoder.freeze(encoder.groups[:cut]).train()
    below = encoder.run(x, 0, cut)
    assert torch.equal(below, expected)
    encoder(x).sum().backward()
    for index, group in enumerate(encoder.groups):
        trained = [parameter.grad is not None for _, parameter in encoder.parameters_of(group)]
        assert not any(trained) if index < cut else all(trained) or not trained


@pytest.mark.parametrize("name", CONFIGS)
def test_depths_end_in_the_features_and_ignore_padding(name: str):
    encoder, x = make(name), inputs(name)
    with torch.no_grad():
        depths = dict(encoder.depths(x))
        alone = dict(encoder.depths(x[2:, :, :3]))
        assert tuple(depths) == encoder.groups
        assert torch.equal(depths[encoder.groups[-1]], encoder(x))
    for group, features in depths.items():
        assert features.shape == (3, encoder.feature_dim * (1 if group == encoder.groups[-1] else 2))
        torch.testing.assert_close(features[2:], alone[group], rtol=0, atol=2e-5)


@torch.no_grad()
def test_activations_carry_their_mask_at_one_size():
    encoder = make("bert")
    kept = encoder.run(batch(), 0, 2)
    assert kept.shape == (3, 30, 17)
    assert kept[..., -1].sum(1).tolist() == [12, 7, 3]
    assert not kept[1, 7:].any()
    hidden = torch.tensor([[[1.0], [3.0], [50.0]]])
    assert mean(hidden, torch.tensor([[1, 1, 0]])).item() == 2


def test_what_cannot_be_built_is_refused_with_a_way_out():
    with pytest.raises(ConfigError, match="families"):
        build({"model_type": "gpt2"}, "cls", 20)
    with pytest.raises(ConfigError, match="pooling to cls or mean"):
        build(CONFIGS["electra"], "pooler", 20)
    with pytest.raises(ConfigError, match="40 positions"):
        build(CONFIGS["bert"], "pooler", 41)
    with pytest.raises(ConfigError, match="38 positions"):
        build(CONFIGS["roberta"], "cls", 39)
