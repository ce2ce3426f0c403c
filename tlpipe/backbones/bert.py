"""BERT, pretrained here: on plain text files, from fresh weights or going on from given ones."""

import shutil
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from tlpipe.backbones.base import Backbone, Encoder
from tlpipe.backbones.folders import CONFIG, read_config, tokenizer_path, weights_path
from tlpipe.backbones.huggingface import width_of
from tlpipe.backbones.text import Pooling, TextEncoder, build
from tlpipe.backbones.weights import Sha256, file_hash
from tlpipe.config import ConfigError, Spec
from tlpipe.data.corpus import read_documents, train_wordpiece
from tlpipe.packaged import local_path
from tlpipe.preprocess.text import TOKENIZER, TextPreprocess, load_tokenizer

VOCABULARY = 30_522
"""Rows of embeddings where a config.json does not say; transformers' default for bert."""


class Size(Spec):
    """A BERT with fresh weights (arXiv 1810.04805); tiny is 2 x 128, base 12 x 768."""

    layers: Annotated[int, Field(ge=1, le=48)]
    """Number of transformer layers."""
    width: Annotated[int, Field(ge=8, le=4096)]
    """Width of the hidden states; the feed-forward layers are four times as wide."""
    heads: Annotated[int, Field(ge=1, le=64)]
    """Number of attention heads of a layer."""
    vocabulary: Annotated[int, Field(ge=100, le=1_000_000)]
    """Word pieces of the tokenizer that is trained on the corpus, or rows for those of the given one."""
    lowercase: bool = True
    """Fold case and accents before the tokenizer is trained."""
    tokenizer: str | None = None
    """A tokenizer.json to use instead of training one, or `package:DISTRIBUTION/PATH` of one."""

    @model_validator(mode="after")
    def _divides(self) -> "Size":
        if self.width % self.heads:
            raise ValueError(f"width ({self.width}) must be a multiple of heads ({self.heads})")
        return self


class Bert(Backbone):
    """Masked language modelling and next-sentence prediction by the `pretrain` stage; the encoder is what is kept."""

    modality: ClassVar[Literal["image", "text"]] = "text"
    trained_here: ClassVar[bool] = True

    kind: Literal["bert"] = "bert"
    corpus: Annotated[tuple[str, ...], Field(min_length=1)]
    """Text files in UTF-8, or folders of .txt files. A blank line ends a document."""
    size: Size | None = None
    """Architecture of a network that is trained from nothing; null = see `start`."""
    start: str | None = None
    """A folder, `package:DISTRIBUTION/FOLDER` or hub name of BERT weights to go on from, with their tokenizer; null =
    see `size`."""
    sha256: Sha256 | None = None
    """SHA-256 of the weights of `start`, no others are taken; null = any. The pretrain stage fills it in."""
    pooling: Pooling = "pooler"
    """Pooling of tokens into the features of a text: the pooler that next-sentence prediction trained, the first
    token's hidden state, or the mean over all tokens; none for tasks that label tokens."""
    max_length: Annotated[int, Field(ge=8, le=8192)] = 128
    """Tokens at most, special ones included, of a pair in pretraining and of a text afterwards."""
    epochs: Annotated[int, Field(ge=1, le=10_000)] = 3
    """Number of passes over the corpus."""
    batch_size: Annotated[int, Field(ge=2, le=65_536)] = 32
    """Number of pairs of segments in a step."""
    lr: Annotated[float, Field(gt=0, le=1)] = 5e-4
    """Peak of the learning rate, after a warm-up over a tenth of the steps; it falls linearly to 0."""
    mask_share: Annotated[float, Field(gt=0, le=0.5)] = 0.15
    """Share of a sequence's tokens that are to be predicted."""
    whole_words: bool = False
    """Mask all pieces of a word together."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Dropout of hidden states and attention in pretraining; few passes teach more without it (Geiping and Goldstein
    2022, arXiv 2212.14034). Fine-tuning has the dropout of the config, 0.1 for a `size`."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Seed of the fresh weights, of the masks and of the pairs."""
    config: dict[str, Any] | None = None
    """Configuration of `start`; the pretrain stage fills it in, so that no later stage needs a network."""

    @model_validator(mode="after")
    def _one_start(self) -> "Bert":
        if (self.size is None) is (self.start is None):
            raise ValueError("give either `size`, to train from nothing, or `start`, weights to go on from")
        return self

    @property
    def tokens(self) -> bool:
        """Where nothing is pooled."""
        return self.pooling == "none"

    @property
    def hidden_size(self) -> int:
        """Of the hidden states."""
        return width_of(self.architecture())

    def preprocess(self) -> TextPreprocess:
        """Cut off at `max_length`; padding as the config says."""
        return TextPreprocess(max_length=self.max_length, pad_id=int(self.architecture().get("pad_token_id") or 0))

    def encoder(self) -> Encoder:
        """Embeddings, layers and, with `pooling: pooler`, the pooler; random weights."""
        return self.text_encoder()

    def text_encoder(self) -> TextEncoder:
        """`encoder()`."""
        return build(self.architecture(), self.pooling, self.max_length)

    def resolved(self) -> "Bert":
        """With the config of `start` filled in, and the hash of its weights."""
        if self.start is None:
            return self
        digest = file_hash(weights_path(self.start, None))
        return self.model_copy(update={"config": self.architecture(), "sha256": digest})

    def architecture(self) -> dict[str, Any]:
        """The content of a config.json. Raises ConfigError when `start` is no BERT."""
        if self.size is not None:
            size = self.size
            return {
                "model_type": "bert", "vocab_size": size.vocabulary, "hidden_size": size.width,
                "num_hidden_layers": size.layers, "num_attention_heads": size.heads,
                "intermediate_size": 4 * size.width, "max_position_embeddings": self.max_length, "pad_token_id": 0,
            }  # fmt: skip
        config = self.config if self.config is not None else read_config(str(self.start), None)
        if config["model_type"] != "bert":
            raise ConfigError(
                f"backbone.start: {self.start!r} is a {config['model_type']} ({CONFIG}); pretraining knows bert only"
            )
        return config

    def prepare_tokenizer(self, folder: Path) -> None:
        """Train WordPiece on the corpus, or copy what is given. Raises ConfigError when it has too many tokens."""
        target = folder / TOKENIZER
        if (size := self.size) is not None and size.tokenizer is None:
            texts = (sentence for document in read_documents(self.corpus) for sentence in document)
            train_wordpiece(texts, size.vocabulary, size.lowercase, target)
            self._check_tokens(target)
            return
        given = self._given_tokenizer(target)
        self._check_tokens(given)
        if given != target:
            shutil.copyfile(given, target)

    def _given_tokenizer(self, target: Path) -> Path:
        if self.size is None:
            return tokenizer_path(str(self.start), None, target)
        name = str(self.size.tokenizer)
        given = local_path(name)
        if not given.is_file():
            raise ConfigError(f"backbone.size.tokenizer: {name!r} does not exist (seen from {Path.cwd()})")
        return given

    def _check_tokens(self, path: Path) -> None:
        """Every token needs a row of the embeddings."""
        rows = int(self.architecture().get("vocab_size", VOCABULARY))
        needed = max(load_tokenizer(path).get_vocab().values(), default=0) + 1
        if needed <= rows:
            return
        if self.size is not None:
            has, way = "backbone.size.vocabulary is", f"set it to {needed} at least, or give a smaller tokenizer"
        else:
            has, way = f"vocab_size in {CONFIG} is", "weights and tokenizer must be of one model"
        raise ConfigError(f"{path} needs {needed} rows of embeddings, but {has} {rows}: {way}")
