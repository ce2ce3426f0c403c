"""Which tensors have weight decay: matrices and kernels, and nothing that is looked up, in every library's naming."""

from collections.abc import Callable

import pytest
import timm
import torch
from torch import nn
from torchvision import models
from torchvision.models.swin_transformer import SwinTransformer
from torchvision.models.vision_transformer import VisionTransformer

from tests.backbones.test_text import CONFIGS
from tests.train.test_loop import STAGED
from tlpipe.backbones.families import carve
from tlpipe.backbones.text import build
from tlpipe.backbones.timm import headless
from tlpipe.train.trainer.loop import Trainer
from tlpipe.train.trainer.weight_decay import undecayed


def torchvision_vit() -> nn.Module:
    return carve(VisionTransformer(32, 16, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=32, num_classes=3))


def torchvision_swin() -> nn.Module:
    return carve(SwinTransformer([4, 4], 8, [1] * 4, [1, 1, 2, 2], window_size=[2, 2], num_classes=3))


def timm_model(name: str, **options: object) -> nn.Module:
    return headless(timm.create_model(name, num_classes=3, **options))[0]


def hugging_face(name: str) -> nn.Module:
    return build(CONFIGS[name], "mean", 30)


BERT = {"word_embeddings.weight", "position_embeddings.weight", "token_type_embeddings.weight"}
CASES: dict[str, tuple[Callable[[], nn.Module], set[str]]] = {
    "torchvision ViT": (torchvision_vit, {"class_token", "positions"}),
    "torchvision Swin": (torchvision_swin, {"attn.relative_position_bias_table"}),
    "torchvision Swin V2": (
        lambda: carve(models.swin_v2_t(weights=None)),
        {"attn.logit_scale", "cpb_mlp.0.weight", "cpb_mlp.2.weight"},
    ),
    "torchvision ConvNeXt": (lambda: carve(models.convnext_tiny(weights=None)), {"layer_scale"}),
    "torchvision ResNet": (lambda: carve(models.resnet18(weights=None)), set()),
    "timm ViT": (lambda: timm_model("vit_tiny_patch16_224", depth=1), {"model.cls_token", "model.pos_embed"}),
    "timm DeiT": (
        lambda: timm_model("deit_tiny_distilled_patch16_224", depth=1),
        {"model.cls_token", "model.dist_token", "model.pos_embed"},
    ),
    "timm registers": (
        lambda: timm_model("vit_tiny_patch16_224", depth=1, reg_tokens=2),
        {"model.cls_token", "model.reg_token", "model.pos_embed"},
    ),
    "timm attention pool": (
        lambda: timm_model("vit_base_patch16_siglip_224", depth=1),
        {"model.pos_embed", "model.attn_pool.latent"},
    ),
    "timm Swin": (lambda: timm_model("swin_tiny_patch4_window7_224"), {"attn.relative_position_bias_table"}),
    "timm MaxViT": (
        lambda: timm_model("maxvit_rmlp_nano_rw_256"),
        {"rel_pos.mlp.fc1.weight", "rel_pos.mlp.fc2.weight"},  # which timm declares and whose names say nothing to us
    ),
    "BERT": (lambda: hugging_face("bert"), BERT),
    "RoBERTa": (lambda: hugging_face("roberta"), BERT),
    "DistilBERT": (lambda: hugging_face("distilbert"), {"word_embeddings.weight", "position_embeddings.weight"}),
    "ELECTRA": (lambda: hugging_face("electra"), BERT),
    "ModernBERT": (lambda: hugging_face("modernbert"), {"tok_embeddings.weight"}),
    "DeBERTa": (lambda: hugging_face("deberta-v3"), {"word_embeddings.weight", "rel_embeddings.weight"}),
}


@pytest.mark.parametrize("name", CASES)
def test_tokens_tables_and_embeddings_have_no_decay_and_matrices_do(name: str) -> None:
    make, tables = CASES[name]
    with torch.device("meta"):
        encoder = make()
    exempt = undecayed(encoder)
    named = dict(encoder.named_parameters())
    large = {each for each, parameter in named.items() if id(parameter) in exempt and parameter.ndim > 1}
    ends = {end for end in tables if any(each.endswith(end) for each in large)}
    assert ends == tables
    assert {each for each in large if not any(each.endswith(end) for end in tables)} == set()
    decayed = {each for each, parameter in named.items() if id(parameter) not in exempt}
    assert decayed
    assert {each for each in decayed if not each.endswith("weight") or named[each].ndim < 2} == set()


def test_the_optimizer_decays_what_the_rule_leaves(make_trainer: Callable[..., Trainer]) -> None:
    trainer = make_trainer(STAGED)
    encoder = trainer.model.encoder
    exempt = undecayed(encoder)
    held = {
        id(tensor): group["weight_decay"]
        for group in trainer.update.optimizer.param_groups
        for tensor in group["params"]
    }
    assert {held[id(each)] for each in encoder.parameters() if id(each) in exempt} == {0.0}
    assert {held[id(each)] for each in encoder.parameters() if id(each) not in exempt} == {0.05}
