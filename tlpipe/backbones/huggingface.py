"""Encoders of the BERT family from a local folder or the Hugging Face hub: config.json, tokenizer.json, safetensors."""

import json
import shutil
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field
from torch import Tensor

from tlpipe.backbones.base import Backbone, Encoder
from tlpipe.backbones.text import Pooling, TextEncoder, build
from tlpipe.backbones.text_families import FAMILIES
from tlpipe.backbones.weights import fingerprint, listed
from tlpipe.config import ConfigError
from tlpipe.preprocess.text import TOKENIZER, TextPreprocess

CONFIG, WEIGHTS = "config.json", "model.safetensors"
UNUSED = (".position_ids", ".token_type_ids")
"""Ends of names of buffers that older files hold and nothing reads."""


class HuggingFace(Backbone):
    """A bert, roberta, distilbert, electra, deberta-v2/-v3 or modernbert encoder."""

    modality: ClassVar[Literal["image", "text"]] = "text"

    kind: Literal["huggingface"] = "huggingface"
    name: Annotated[str, Field(min_length=1)]
    """A folder with config.json, tokenizer.json and model.safetensors, or a name on the hub such as
    google-bert/bert-base-uncased."""
    revision: str | None = None
    """Commit, tag or branch on the hub; null = the newest of the main branch. Folders have none."""
    pooling: Pooling = "pooler"
    """How tokens become the features of a text: the pretrained pooler on the first token (bert, roberta), the first
    token's hidden state, or the mean over all tokens (good where the layers stay frozen)."""
    max_length: Annotated[int, Field(ge=8, le=8192)] = 128
    """Tokens of a text at most, special ones included; longer texts are cut off."""
    config: dict[str, Any] | None = None
    """What config.json says; null = read it. The pretrain stage fills it in, so that no later stage needs a network."""

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
        """Embeddings, layers and, with `pooling: pooler`, the pooler; random weights."""
        return build(self._config(), self.pooling, self.max_length)

    def pretrained(self) -> tuple[Encoder, dict[str, str | list[str]]]:
        """Reads safetensors only; heads of the published model are left out, by name.

        Raises ConfigError when weights are missing or do not fit.
        """
        encoder = build(self._config(), self.pooling, self.max_length)
        skipped = load_weights(encoder, self.name, self.revision)
        digest = fingerprint(encoder)
        where = f"{self.name}@{self.revision}" if self.revision else self.name
        return encoder, {"origin": where, "sha256": digest, "skipped": skipped}

    def resolved(self) -> "HuggingFace":
        """With the config filled in."""
        return self.model_copy(update={"config": self._config()})

    def prepare_tokenizer(self, folder: Path) -> None:
        """Copy the published tokenizer.json."""
        shutil.copyfile(fetch(self.name, TOKENIZER, self.revision), folder / TOKENIZER)

    def _config(self) -> dict[str, Any]:
        return self.config if self.config is not None else read_config(self.name, self.revision)


def width_of(config: dict[str, Any]) -> int:
    """Of the hidden states by a config.json; distilbert has its own word for it, and 768 is every family's default."""
    return int(config.get("hidden_size") or config.get("dim") or 768)


def has_token_types(config: dict[str, Any]) -> bool:
    """Whether a model with this config.json tells the two texts of a pair apart by embeddings."""
    none = config.get("model_type") in ("distilbert", "modernbert")
    return not none and int(config.get("type_vocab_size", 2)) > 1


def read_config(name: str, revision: str | None) -> dict[str, Any]:
    """config.json of a folder or a hub name. Raises ConfigError when it cannot be had or its family is unknown."""
    path = fetch(name, CONFIG, revision)
    try:
        config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError(f"{path} is not JSON: {error}") from None
    if config.get("model_type") not in FAMILIES:
        raise ConfigError(
            f"backbone.name: {name!r} is a {config.get('model_type')}; allowed: {', '.join(sorted(FAMILIES))}"
        )
    return config


def fetch(name: str, file: str, revision: str | None) -> Path:
    """One file of a local folder, or of a hub name by its cache. Raises ConfigError with a way out."""
    folder = Path(name)
    if folder.is_dir():
        if (folder / file).is_file():
            return folder / file
        have = listed(sorted(path.name for path in folder.iterdir()))
        raise ConfigError(
            f"{folder} has no {file} (it has {have}); transformers writes it with save_pretrained: of the fast "
            "tokenizer for tokenizer.json, of the model for config.json and model.safetensors"
        )
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(hf_hub_download(name, file, revision=revision))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise ConfigError(
            f"backbone.name: {name!r} is no folder here, and the hub did not give its {file} "
            f"({str(error).splitlines()[0]}); correct the name, or download the folder and name that"
        ) from None


def load_weights(encoder: TextEncoder, name: str, revision: str | None) -> list[str]:
    """Lay the safetensors of a folder or hub name over the encoder; returns the names that were left out."""
    from transformers import AutoModel
    from transformers.utils import logging

    fetch(name, WEIGHTS, revision)
    logging.set_verbosity_error()
    settings: Any = encoder.model.config
    extra = {"add_pooling_layer": encoder.pooling == "pooler"} if encoder.family.has_pooler else {}
    loaded, found = AutoModel.from_pretrained(
        name, config=settings, revision=revision, use_safetensors=True, output_loading_info=True,
        ignore_mismatched_sizes=True, attn_implementation=encoder.family.attention, **extra,
    )  # fmt: skip
    refuse_gaps(name, found)
    state: dict[str, Tensor] = loaded.float().state_dict()
    encoder.model.load_state_dict(state)
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
