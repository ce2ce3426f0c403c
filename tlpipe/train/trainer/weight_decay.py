"""Weight decay by parameter: which tensors of an encoder have none.

A matrix or kernel times 0.99 is a smaller map; a position, a token or a row of a table times 0.99 is another position,
token or row. So besides vectors (biases, norms, scales) these have no decay: position embeddings, class, distillation,
register and mask tokens, tables of relative positions, and the rows of embeddings (words, types, positions). That is
what the published recipes of ViT, Swin and BEiT do; timm's models say it themselves in `no_weight_decay()`.
"""

import re

from torch import nn

TABLES = re.compile(
    r"(^|_)(pos|positions?|positional|rel|relative|absolute)(_|$)"  # pos_embed(ding), relative_position_bias_table
    r"|(^|_)tokens?$"  # cls_token, class_token, dist_token, mask_token
    r"|(^|_)attention_biases$"  # LeViT's table
)
"""Names of parameters that are looked up and added, and multiply nothing."""
MAKER = "cpb_mlp"
"""Swin V2's network in place of a table of relative positions; timm exempts it, and torchvision's has the same name."""
WEIGHTS = re.compile(r"(^|_)weight$")
"""A parameter so called belongs to a layer (`nn.MultiheadAttention` has in_proj_weight), whatever its shape."""


def undecayed(encoder: nn.Module) -> set[int]:
    """The ids of an encoder's parameters that have no weight decay."""
    exempt: set[int] = set()
    for path, module in encoder.named_modules():
        table = isinstance(module, nn.Embedding) or MAKER in path.split(".")
        own = dict(module.named_parameters(recurse=False))
        exempt |= {id(each) for name, each in own.items() if table or is_exempt(name, each)}
        exempt |= _declared(module)
    return exempt


def is_exempt(name: str, parameter: nn.Parameter) -> bool:
    """Whether a parameter has no decay by its own name and shape: vectors, tokens and tables of positions."""
    if parameter.ndim <= 1 or TABLES.search(name):
        return True
    return not WEIGHTS.search(name) and sum(size > 1 for size in parameter.shape) <= 1


def _declared(module: nn.Module) -> set[int]:
    """What timm's models, whole or as parts of others, declare in `no_weight_decay()`: names below the module."""
    declare = getattr(module, "no_weight_decay", None)
    if not callable(declare):
        return set()
    names = set(declare())
    return {id(parameter) for name, parameter in module.named_parameters() if name in names}
