"""Encoders of the BERT family from a folder, an installed package or the Hugging Face hub."""

import shutil
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from tlpipe.backbones.base import Backbone, Encoder
from tlpipe.backbones.folders import local_folder, pickled_state, read_config, tokenizer_path, weights_path
from tlpipe.backbones.pooling import choose_pooling
from tlpipe.backbones.text import Pooling, TextEncoder, build
from tlpipe.backbones.weights import Sha256, check_hash, file_hash, listed
from tlpipe.config import ConfigError
from tlpipe.packaged import is_packaged, title_of
from tlpipe.preprocess.text import TOKENIZER, TextPreprocess

UNUSED = (".position_ids", ".token_type_ids")
"""Ends of names of buffers that older files hold and nothing reads."""


class HuggingFace(Backbone):
    """A text encoder of a family that can be cut: bert, roberta, mpnet, albert, deberta, modernbert and others."""

    modality: ClassVar[Literal["image", "text"]] = "text"

    kind: Literal["huggingface"] = "huggingface"
    name: Annotated[str, Field(min_length=1)]
    """A folder with config.json, tokenizer.json and model.safetensors (or their older forms), the same in an installed
    package as `package:DISTRIBUTION/PATH`, or a name on the hub such as google-bert/bert-base-uncased."""
    revision: str | None = None
    """Commit, tag or branch on the hub; null = the newest of the main branch. Folders have none."""
    pooling: Pooling | Literal["auto"] = "auto"
    """Pooling of tokens into the features of a text: the pretrained pooler on the first token, the first token's hidden
    state (cls), or the mean over all tokens; none for tasks that label tokens. auto = what the folder has: the pooling
    of sentence-transformers' configuration, else a pooler among the weights, else the mean."""
    max_length: Annotated[int, Field(ge=8, le=8192)] = 128
    """Tokens of a text at most, special ones included; longer texts are cut off."""
    sha256: Sha256 | None = None
    """SHA-256 of the weights file, no other is taken; null = any. The pretrain stage fills it in."""
    config: dict[str, Any] | None = None
    """Content of config.json; null = read it. The pretrain stage fills it in, so that no later stage needs a
    network."""

    @property
    def tokens(self) -> bool:
        """Where nothing is pooled."""
        return self.pooling == "none"

    @property
    def hidden_size(self) -> int:
        """Of the hidden states."""
        return width_of(self._config())

    def preprocess(self) -> TextPreprocess:
        """Cut off at `max_length`; padding and token types as the config says."""
        config = self._config()
        return TextPreprocess(
            max_length=self.max_length,
            pad_id=int(config.get("pad_token_id") or 0),
            token_types=has_token_types(config),
        )

    def encoder(self) -> Encoder:
        """Embeddings, layers and, where it pools, the pooler; random weights."""
        return self._build()

    def pretrained(self) -> tuple[Encoder, dict[str, str | list[str]]]:
        """Reads safetensors, or a pickle without running code in it; heads of the published model are left out.

        Raises ConfigError when weights are missing or do not fit. The origin says how the pooling was chosen.
        """
        encoder = self._build()
        path = weights_path(self.name, self.revision)
        digest = check_hash(path, self.sha256, "backbone.sha256")
        skipped = load_weights(encoder, self.name, self.revision, path)
        notes = [title_of(self.name)] if is_packaged(self.name) else []
        if self.pooling == "auto":
            notes.append("pooling auto: {}, {}".format(*self._pooling()))
        where = f"{self.name}@{self.revision}" if self.revision else self.name
        origin = f"{where} ({'; '.join(notes)})" if notes else where
        return encoder, {"origin": origin, "sha256": digest, "skipped": skipped}

    def resolved(self) -> "HuggingFace":
        """With the config, the pooling and the hash of the weights filled in."""
        digest = file_hash(weights_path(self.name, self.revision))
        update = {"config": self._config(), "pooling": self._pooling()[0], "sha256": digest}
        return self.model_copy(update=update)

    def prepare_tokenizer(self, folder: Path) -> None:
        """Write the published tokenizer.json, made from older vocabulary files where there is none."""
        target = folder / TOKENIZER
        given = tokenizer_path(self.name, self.revision, target)
        if given != target:
            shutil.copyfile(given, target)

    def _build(self) -> TextEncoder:
        return build(self._config(), self._pooling()[0], self.max_length)

    def _config(self) -> dict[str, Any]:
        return self.config if self.config is not None else read_config(self.name, self.revision)

    def _pooling(self) -> tuple[Pooling, str]:
        """The pooling itself, and why it is this one."""
        if self.pooling != "auto":
            return self.pooling, "as params.yaml says"
        return choose_pooling(self._config(), self.name, self.revision)


def width_of(config: dict[str, Any]) -> int:
    """Of the hidden states by a config.json; distilbert has its own word for it, and 768 is every family's default."""
    return int(config.get("hidden_size") or config.get("dim") or 768)


def has_token_types(config: dict[str, Any]) -> bool:
    """Whether a model with this config.json tells the two texts of a pair apart by embeddings."""
    none = config.get("model_type") in ("distilbert", "modernbert", "mpnet")
    return not none and int(config.get("type_vocab_size", 2)) > 1


def load_weights(encoder: TextEncoder, name: str, revision: str | None, path: Path) -> list[str]:
    """Lay a weights file of a folder or hub name over the encoder; returns the names that were left out."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    model: Any = encoder.model
    extra = {"add_pooling_layer": encoder.pooling == "pooler"} if encoder.family.has_pooler else {}
    state = pickled_state(path)
    source: dict[str, Any] = {"use_safetensors": True, "revision": revision} if state is None else {"state_dict": state}
    loaded, found = type(model).from_pretrained(
        str(local_folder(name) or name) if state is None else None, config=model.config, output_loading_info=True,
        ignore_mismatched_sizes=True, attn_implementation=encoder.family.attention, **source, **extra,
    )  # fmt: skip
    refuse_gaps(name, found)
    encoder.model.load_state_dict(loaded.float().state_dict())
    return sorted(str(key) for key in found["unexpected_keys"] if not str(key).endswith(UNUSED))


def refuse_gaps(name: str, found: dict[str, Any], fresh: tuple[str, ...] = ()) -> None:
    """Raises ConfigError that names what the weights lack, or have in another shape.

    Args:
        name: Whose weights they are.
        found: What transformers says of loading them, sizes that do not match ignored.
        fresh: Beginnings of the names that may be missing.
    """
    missing = sorted(str(key) for key in found["missing_keys"] if not str(key).startswith(fresh))
    shapes = (f"{key} (file {tuple(file)}, model {tuple(model)})" for key, file, model in found["mismatched_keys"])
    if wrong := missing + sorted(shapes):
        way = "; set backbone.pooling to mean or cls" if all("pooler" in key for key in wrong) else ""
        raise ConfigError(f"{name}: the weights lack, or have in another shape: {listed(wrong)}{way}")
