"""Hugging Face encoders of the BERT family as ordered, named layer groups: embeddings, layers, pooler.

Between groups goes one tensor, the hidden states with the attention mask as their last column, so that whatever is kept
of a frozen layer keeps its mask, and padding is cut away again before anything is computed on it.
"""

from collections.abc import Iterator
from typing import Any, Literal

import torch
from torch import Tensor, nn

from tlpipe.backbones.base import Encoder
from tlpipe.backbones.text_families import FAMILIES, Family
from tlpipe.config import ConfigError
from tlpipe.preprocess.text import even

Pooling = Literal["pooler", "cls", "mean", "none"]


class TextEncoder(Encoder):
    """Token batches (B, C, L) int64 (ids, mask and, for some, token types) -> features (B, D) of the whole text.

    With `pooling: none` they are (B, L, D), of each token, L being that of the batch; zero where a text
    has no token.

    Activations between groups are (B, max_length, D + 1): hidden states, zero where there is no token, and the mask.
    They do not depend on the other texts of a batch but for the rounding of products of other sizes.
    """

    def __init__(self, model: nn.Module, pooling: Pooling, max_length: int) -> None:
        super().__init__()
        self.model = model
        self.pooling = pooling
        self.max_length = max_length
        config: Any = model.config
        self.family: Family = FAMILIES[config.model_type]
        self.layers = len(self.family.layers(model))
        names = ["embeddings", *(f"layer{index}" for index in range(1, self.layers + 1))]
        self.groups = (*names, "pooler") if pooling == "pooler" else tuple(names)
        self.cuts = tuple(range(len(self.groups) + 1))
        self.feature_dim = int(config.hidden_size)

    def run(self, x: Tensor, start: int = 0, stop: int | None = None) -> Tensor:
        """Groups `start` to `stop`; see the class for what goes between them."""
        stop = len(self.groups) if stop is None else stop
        if start == stop:
            return x
        if start == 0:
            mask = x[:, 1]
            hidden = self.family.embed(self.model, x[:, 0], mask, x[:, 2] if x.shape[1] > 2 else None)
        else:
            hidden, mask = _trimmed(x)
        first, last = max(start, 1), min(stop, self.layers + 1)
        hidden = self._layers(hidden, mask, first, last)
        return self._features(hidden, mask) if stop == len(self.groups) else self._carried(hidden, mask)

    def _layers(self, hidden: Tensor, mask: Tensor, first: int, last: int) -> Tensor:
        if first >= last:
            return hidden
        context = self.family.context(self.model, hidden, mask)
        for index in range(first - 1, last - 1):
            hidden = self.family.layer(self.model, index, hidden, context)
        return self.family.finish(self.model, hidden) if last == self.layers + 1 else hidden

    def _features(self, hidden: Tensor, mask: Tensor) -> Tensor:
        if self.pooling == "none":
            return hidden * mask.to(hidden.dtype).unsqueeze(-1)
        if self.pooling == "mean":
            return mean(hidden, mask)
        return self.family.pool(self.model, hidden) if self.pooling == "pooler" else hidden[:, 0]

    def _carried(self, hidden: Tensor, mask: Tensor) -> Tensor:
        shown = mask.to(hidden.dtype).unsqueeze(-1)
        together = torch.cat([hidden * shown, shown], dim=-1)
        return nn.functional.pad(together, (0, 0, 0, self.max_length - together.shape[1]))

    def pooled_depths(self, x: Tensor) -> Iterator[Tensor]:
        """At the top the features; below, the first token's hidden state beside the mean over the tokens, (B, 2 D).

        Where nothing is pooled all are (B, L, D).
        """
        mask = x[:, 1]
        hidden = self.family.embed(self.model, x[:, 0], mask, x[:, 2] if x.shape[1] > 2 else None)
        for layer in range(1, self.layers + 1):
            yield self._below(hidden, mask)
            hidden = self._layers(hidden, mask, layer, layer + 1)
        if self.pooling == "pooler":
            yield self._below(hidden, mask)
        yield self._features(hidden, mask)

    def _below(self, hidden: Tensor, mask: Tensor) -> Tensor:
        return hidden if self.pooling == "none" else torch.cat([hidden[:, 0], mean(hidden, mask)], dim=-1)

    def depth_widths(self, example: object) -> tuple[int, ...]:
        """Known without a forward pass."""
        below = self.feature_dim if self.pooling == "none" else 2 * self.feature_dim
        return (*[below] * (len(self.groups) - 1), self.feature_dim)

    def members(self, group: str) -> Iterator[tuple[str, nn.Module]]:
        """Every module of the group; what all layers share belongs to the embeddings."""
        if group == "pooler":
            roots = self.family.pooler_roots()
        elif group == "embeddings":
            roots = self.family.stem(self.model)
        else:
            roots = self.family.layer_roots(self.model, int(group.removeprefix("layer")) - 1)
        for root in roots:
            yield from self.model.get_submodule(root).named_modules(prefix=f"model.{root}")


def mean(hidden: Tensor, mask: Tensor) -> Tensor:
    """Mean (B, D) of hidden states (B, L, D) over the tokens that `mask` (B, L) shows."""
    shown = mask.to(hidden.dtype).unsqueeze(-1)
    return (hidden * shown).sum(1) / shown.sum(1).clamp_min(1)


def _trimmed(x: Tensor) -> tuple[Tensor, Tensor]:
    """(hidden states, mask) of activations, without the columns in which no text has a token, but of an even length."""
    mask = (x[..., -1] > 0.5).long()
    longest = even(max(1, int(mask.sum(1).max())), x.shape[1])
    return x[:, :longest, :-1].contiguous(), mask[:, :longest]


def build(config: dict[str, Any], pooling: Pooling, max_length: int) -> TextEncoder:
    """The encoder that a Hugging Face `config.json` describes, with fresh random weights; nothing is downloaded.

    Raises:
        ConfigError: an unknown family, a pooler that the family has not, or a length beyond its positions.
    """
    from transformers import AutoConfig, AutoModel

    kind = str(config.get("model_type"))
    if kind not in FAMILIES:
        raise ConfigError(f"model_type {kind!r} is none of the families that can be cut: {', '.join(sorted(FAMILIES))}")
    if pooling == "pooler" and not FAMILIES[kind].has_pooler:
        raise ConfigError(f"{kind} has no pooler; set backbone.pooling to cls or mean")
    settings = AutoConfig.for_model(kind, **{key: value for key, value in config.items() if key != "model_type"})
    positions = FAMILIES[kind].positions(settings)
    if max_length > positions:
        raise ConfigError(f"backbone.max_length: {max_length} tokens, but this model has {positions} positions")
    extra = {"add_pooling_layer": pooling == "pooler"} if FAMILIES[kind].has_pooler else {}
    model = AutoModel.from_config(settings, attn_implementation=FAMILIES[kind].attention, **extra)
    return TextEncoder(model.float(), pooling, max_length)
