"""Where each Hugging Face family keeps its parts, and how its own forward calls them: checked bit for bit by tests."""

from typing import Any

from torch import Tensor

Context = Any
"""What a family's layers need besides the hidden states: masks, relative positions, rotations."""


class Family:
    """bert; what others do differently is in the classes below."""

    has_pooler = True
    attention = "sdpa"
    """The implementation that transformers is asked for."""
    path = "encoder.layer"
    """Where the list of layers is."""
    shared: tuple[str, ...] = ()
    """Modules outside the embeddings that all layers use."""

    def layers(self, model: Any) -> Any:
        """The list of layers."""
        return model.get_submodule(self.path)

    def stem(self, model: Any) -> list[str]:
        """Names of the modules that belong to the embeddings."""
        names = ["embeddings", "embeddings_project", *self.shared]
        there = dict(model.named_modules())
        return [name for name in names if name in there]

    def layer_roots(self, model: Any, index: int) -> list[str]:
        """Names of the modules that belong to layer `index`."""
        return [f"{self.path}.{index}"]

    def positions(self, config: Any) -> int:
        """Tokens that the model has positions for."""
        return int(config.max_position_embeddings)

    def embed(self, model: Any, ids: Tensor, mask: Tensor, types: Tensor | None) -> Tensor:
        """Ids (B, L) -> hidden states (B, L, D)."""
        hidden: Tensor = model.embeddings(input_ids=ids, token_type_ids=types)
        if hasattr(model, "embeddings_project"):
            hidden = model.embeddings_project(hidden)
        return hidden

    def context(self, model: Any, hidden: Tensor, mask: Tensor) -> Context:
        """What `layer` needs for hidden states (B, L, D) and mask (B, L), whichever layer it is."""
        from transformers.masking_utils import create_bidirectional_mask

        return create_bidirectional_mask(config=model.config, inputs_embeds=hidden, attention_mask=mask)

    def layer(self, model: Any, index: int, hidden: Tensor, context: Context) -> Tensor:
        """One layer, (B, L, D) -> (B, L, D)."""
        result: Tensor = self.layers(model)[index](hidden, attention_mask=context)
        return result

    def finish(self, model: Any, hidden: Tensor) -> Tensor:
        """What comes after the last layer and belongs to it."""
        return hidden

    def pool(self, model: Any, hidden: Tensor) -> Tensor:
        """What the pooler makes of the first token, (B, L, D) -> (B, D)."""
        pooled: Tensor = model.pooler(hidden)
        return pooled

    def pooler_roots(self) -> list[str]:
        """Names of the modules that belong to the pooler."""
        return ["pooler"]


class Electra(Family):
    """Its embeddings may be narrower than its layers."""

    has_pooler = False


class Roberta(Family):
    """Positions count from beyond the padding id, and padding has none of its own."""

    def positions(self, config: Any) -> int:
        """As above, less those before the first token."""
        return int(config.max_position_embeddings - config.pad_token_id - 1)


class DistilBert(Family):
    """No token types and no pooler."""

    has_pooler = False
    path = "transformer.layer"

    def embed(self, model: Any, ids: Tensor, mask: Tensor, types: Tensor | None) -> Tensor:
        """Ids (B, L) -> hidden states (B, L, D)."""
        hidden: Tensor = model.embeddings(ids)
        return hidden


class DebertaV2(Family):
    """deberta-v2 and -v3: relative positions whose embeddings all layers share, and in some a convolution at first."""

    has_pooler = False
    attention = "eager"
    shared = ("encoder.rel_embeddings", "encoder.LayerNorm")

    def layer_roots(self, model: Any, index: int) -> list[str]:
        """The convolution belongs to the first layer."""
        own = super().layer_roots(model, index)
        return [*own, "encoder.conv"] if index == 0 and model.encoder.conv is not None else own

    def embed(self, model: Any, ids: Tensor, mask: Tensor, types: Tensor | None) -> Tensor:
        """Ids (B, L) -> hidden states (B, L, D), zero where the mask is."""
        types = ids.new_zeros(ids.shape) if types is None else types
        hidden: Tensor = model.embeddings(input_ids=ids, token_type_ids=types, mask=mask)
        return hidden

    def context(self, model: Any, hidden: Tensor, mask: Tensor) -> Context:
        """The masks of pairs and of tokens, and relative positions with their embeddings."""
        encoder = model.encoder
        pairs, positions = encoder.get_attention_mask(mask), encoder.get_rel_pos(hidden)
        return mask, pairs, {"relative_pos": positions, "rel_embeddings": encoder.get_rel_embedding()}

    def layer(self, model: Any, index: int, hidden: Tensor, context: Context) -> Tensor:
        """One layer; after the first one the convolution, if there is one."""
        mask, pairs, relative = context
        result: Tensor = model.encoder.layer[index](hidden, pairs, **relative)[0]
        if index == 0 and model.encoder.conv is not None:
            result = model.encoder.conv(hidden, result, mask)
        return result


class ModernBert(Family):
    """Rotary positions, and layers that see everything or a window."""

    has_pooler = False
    path = "layers"
    shared = ("rotary_emb",)

    def layer_roots(self, model: Any, index: int) -> list[str]:
        """The final norm belongs to the last layer."""
        own = super().layer_roots(model, index)
        return [*own, "final_norm"] if index == len(model.layers) - 1 else own

    def embed(self, model: Any, ids: Tensor, mask: Tensor, types: Tensor | None) -> Tensor:
        """Ids (B, L) -> hidden states (B, L, D)."""
        hidden: Tensor = model.embeddings(input_ids=ids)
        return hidden

    def context(self, model: Any, hidden: Tensor, mask: Tensor) -> Context:
        """Masks and rotations by the kind of layer."""
        import torch
        from transformers.masking_utils import create_bidirectional_mask, create_bidirectional_sliding_window_mask

        given = {"config": model.config, "inputs_embeds": hidden, "attention_mask": mask}
        masks = {
            "full_attention": create_bidirectional_mask(**given),
            "sliding_attention": create_bidirectional_sliding_window_mask(**given),
        }
        places = torch.arange(hidden.shape[1], device=hidden.device).unsqueeze(0)
        return masks, {kind: model.rotary_emb(hidden, places, kind) for kind in set(model.config.layer_types)}

    def layer(self, model: Any, index: int, hidden: Tensor, context: Context) -> Tensor:
        """One layer with the mask and the rotation of its kind."""
        masks, rotations = context
        layer = model.layers[index]
        kind = layer.attention_type
        result: Tensor = layer(hidden, attention_mask=masks[kind], position_embeddings=rotations[kind])
        return result

    def finish(self, model: Any, hidden: Tensor) -> Tensor:
        """The final norm."""
        normed: Tensor = model.final_norm(hidden)
        return normed


class Mpnet(Roberta):
    """Relative positions whose embeddings all layers share; positions count from beyond the padding id, which is 1."""

    attention = "eager"
    shared = ("encoder.relative_attention_bias",)

    def positions(self, config: Any) -> int:
        """Less those before the first token: its embeddings know no other padding id than 1."""
        return int(config.max_position_embeddings) - 2

    def embed(self, model: Any, ids: Tensor, mask: Tensor, types: Tensor | None) -> Tensor:
        """Ids (B, L) -> hidden states (B, L, D)."""
        hidden: Tensor = model.embeddings(input_ids=ids)
        return hidden

    def context(self, model: Any, hidden: Tensor, mask: Tensor) -> Context:
        """The mask, and what relative positions add to the attention."""
        return super().context(model, hidden, mask), model.encoder.compute_position_bias(hidden)

    def layer(self, model: Any, index: int, hidden: Tensor, context: Context) -> Tensor:
        """One layer with both."""
        mask, bias = context
        result: Tensor = self.layers(model)[index](hidden, mask, bias)[0]
        return result


class Albert(Family):
    """Layers that share their weights are one layer group, which runs as often as there are such layers."""

    path = "encoder.albert_layer_groups"
    shared = ("encoder.embedding_hidden_mapping_in",)

    def embed(self, model: Any, ids: Tensor, mask: Tensor, types: Tensor | None) -> Tensor:
        """Ids (B, L) -> hidden states (B, L, D), from narrower embeddings."""
        hidden: Tensor = model.encoder.embedding_hidden_mapping_in(super().embed(model, ids, mask, types))
        return hidden

    def layer(self, model: Any, index: int, hidden: Tensor, context: Context) -> Tensor:
        """All layers that share the weights of this group, one after the other."""
        layers, groups = model.config.num_hidden_layers, model.config.num_hidden_groups
        for _ in [at for at in range(layers) if int(at / (layers / groups)) == index]:
            hidden = self.layers(model)[index](hidden, context)
        return hidden

    def pool(self, model: Any, hidden: Tensor) -> Tensor:
        """Its pooler takes the first token alone, and its activation is a module of its own."""
        pooled: Tensor = model.pooler_activation(model.pooler(hidden[:, 0]))
        return pooled

    def pooler_roots(self) -> list[str]:
        """With the activation."""
        return ["pooler", "pooler_activation"]


class Rotary(Family):
    """nomic_bert and gte: rotary positions that all layers share."""

    has_pooler = False
    path = "layers"
    shared = ("rotary_emb",)

    def context(self, model: Any, hidden: Tensor, mask: Tensor) -> Context:
        """The mask and the rotations."""
        import torch

        positions = torch.arange(hidden.shape[1], device=hidden.device).unsqueeze(0)
        return super().context(model, hidden, mask), model.rotary_emb(hidden, positions)

    def layer(self, model: Any, index: int, hidden: Tensor, context: Context) -> Tensor:
        """One layer with both."""
        mask, rotations = context
        result: Tensor = self.layers(model)[index](hidden, attention_mask=mask, position_embeddings=rotations)
        return result


FAMILIES: dict[str, Family] = {
    "bert": Family(),
    "roberta": Roberta(),
    "xlm-roberta": Roberta(),
    "camembert": Roberta(),
    "mpnet": Mpnet(),
    "albert": Albert(),
    "nomic_bert": Rotary(),
    "gte": Rotary(),
    "distilbert": DistilBert(),
    "electra": Electra(),
    "deberta-v2": DebertaV2(),
    "modernbert": ModernBert(),
}
"""By `model_type` of config.json (deberta-v3 says deberta-v2)."""
