"""Static embeddings: a vector a token, and their mean; model2vec folders, the fastest text model there is."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from tlpipe.backbones.base import Backbone, Encoder, SequentialEncoder
from tlpipe.backbones.folders import CONFIG, WEIGHTS, fetch, fetch_optional, read_json, tokenizer_path
from tlpipe.backbones.weights import Sha256, State, check_hash, file_hash, read_state
from tlpipe.config import ConfigError, Spec
from tlpipe.packaged import is_packaged, title_of
from tlpipe.preprocess.text import TOKENIZER, TextPreprocess

VECTORS = ("embeddings", "embedding.weight")
"""Names of the table: model2vec's, and that of sentence-transformers' StaticEmbedding."""


class Table(Spec):
    """The shape of a table of token vectors, and which tokens count nothing."""

    rows: Annotated[int, Field(ge=1)]
    """Number of tokens."""
    width: Annotated[int, Field(ge=1)]
    """Width of a vector."""
    silent: tuple[int, ...]
    """Ids of special tokens: beginnings, ends, padding, unknown."""
    normalize: bool
    """Whether means are brought to length 1."""


class TokenMean(nn.Module):
    """Token batches (B, 2, L) int64 (ids, mask) -> mean token vectors (B, D); zero for a text without a known token."""

    def __init__(self, table: Table) -> None:
        super().__init__()
        self.normalize = table.normalize
        self.vectors = nn.Embedding(table.rows, table.width)
        counts = torch.ones(table.rows)
        counts[list(table.silent)] = 0
        self.counts: Tensor
        self.register_buffer("counts", counts)

    def forward(self, x: Tensor) -> Tensor:
        """Special tokens count nothing."""
        counted = (x[:, 1] * self.counts[x[:, 0]]).unsqueeze(-1)
        mean = (self.vectors(x[:, 0]) * counted).sum(1) / counted.sum(1).clamp_min(1)
        return nn.functional.normalize(mean, dim=1, eps=1e-32) if self.normalize else mean


class Static(Backbone):
    """A vector a token, learnt elsewhere (model2vec: distilled from a sentence encoder); a text is their mean."""

    modality: ClassVar[Literal["image", "text"]] = "text"

    kind: Literal["static"] = "static"
    name: Annotated[str, Field(min_length=1)]
    """A folder with model.safetensors, tokenizer.json and config.json, the same in an installed package as
    `package:DISTRIBUTION/PATH`, or a name on the hub such as minishlab/potion-base-8M."""
    revision: str | None = None
    """Commit, tag or branch on the hub; null = the newest of the main branch. Folders have none."""
    max_length: Annotated[int, Field(ge=8, le=8192)] = 512
    """Tokens of a text at most; longer texts are cut off. Length costs next to nothing here."""
    sha256: Sha256 | None = None
    """SHA-256 of the weights file, no other is taken; null = any. The pretrain stage fills it in."""
    table: Table | None = None
    """Shape of the table of vectors; null = read it. The pretrain stage fills it in, so that no later stage needs the
    folder."""

    @property
    def hidden_size(self) -> int:
        """Of a vector."""
        return self._table().width

    def preprocess(self) -> TextPreprocess:
        """Ids and mask."""
        return TextPreprocess(max_length=self.max_length, token_types=False)

    def encoder(self) -> Encoder:
        """A table of random vectors."""
        return self._build()

    def pretrained(self) -> tuple[Encoder, dict[str, str | list[str]]]:
        """The table, with the weights of tokens multiplied in. Raises ConfigError when there is none."""
        encoder, path = self._build(), fetch(self.name, WEIGHTS, self.revision)
        digest = check_hash(path, self.sha256, "backbone.sha256")
        with torch.no_grad():
            next(encoder.parameters()).copy_(_vectors(read_state(path)[0], path))
        where = f"{self.name}@{self.revision}" if self.revision else self.name
        origin = f"{where} ({title_of(self.name)})" if is_packaged(self.name) else where
        return encoder, {"origin": origin, "sha256": digest, "skipped": []}

    def resolved(self) -> "Static":
        """With the table's shape and the hash of the weights filled in."""
        digest = file_hash(fetch(self.name, WEIGHTS, self.revision))
        return self.model_copy(update={"table": self._table(), "sha256": digest})

    def prepare_tokenizer(self, folder: Path) -> None:
        """Write the published tokenizer.json."""
        target = folder / TOKENIZER
        given = tokenizer_path(self.name, self.revision, target)
        if given != target:
            target.write_bytes(given.read_bytes())

    def _build(self) -> SequentialEncoder:
        table = self._table()
        return SequentialEncoder({"embeddings": TokenMean(table)}, table.width)

    def _table(self) -> Table:
        if self.table is not None:
            return self.table
        path = fetch(self.name, WEIGHTS, self.revision)
        rows, width = _shape(path)
        found = fetch_optional(self.name, CONFIG, self.revision)
        config = read_json(found) if found is not None else {}
        normalize = isinstance(config, Mapping) and config.get("normalize") is True
        silent = _special(fetch(self.name, TOKENIZER, self.revision), rows)
        return Table(rows=rows, width=width, silent=silent, normalize=normalize)


def is_table(folder: Path) -> bool:
    """Whether a folder holds a table of token vectors and its tokenizer."""
    try:
        return (folder / TOKENIZER).is_file() and bool(_shape(folder / WEIGHTS))
    except (ConfigError, OSError):
        return False


def _shape(path: Path) -> tuple[int, int]:
    """Rows by tokens, and width, from the head of the file. Raises ConfigError when it holds no table."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ConfigError(f"{path} is not a readable safetensors file: {error}") from None
    table = next((shapes[name] for name in VECTORS if name in shapes), ())
    if len(table) != 2:
        raise ConfigError(f"{path} holds no table of vectors under {' or '.join(VECTORS)}: it has {sorted(shapes)}")
    return (shapes["mapping"][0] if "mapping" in shapes else table[0]), table[1]


def _vectors(state: State, path: Path) -> Tensor:
    """(rows, width): through `mapping`, where several tokens share a row, and times `weights`, one a token."""
    table = next(state[name] for name in VECTORS if name in state).float()
    if "mapping" in state:
        mapping = state["mapping"].long()
        if int(mapping.min()) < 0 or int(mapping.max()) >= len(table):
            raise ConfigError(f"{path}: mapping names rows that the table, of {len(table):,}, has not")
        table = table[mapping]
    if "weights" in state:
        weights = state["weights"].float()
        if weights.shape != table.shape[:1]:
            raise ConfigError(f"{path}: {len(weights):,} weights for {len(table):,} tokens")
        table = table * weights.unsqueeze(1)
    return table


def _special(path: Path, rows: int) -> tuple[int, ...]:
    """Ids of the special tokens, and of the token for what is unknown. Raises ConfigError for ids beyond the table."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        tokens = {str(each["content"]): int(each["id"]) for each in content.get("added_tokens", ()) if each["special"]}
        model = content["model"]
        unknown, vocabulary = model.get("unk_token"), model["vocab"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{path} is not a tokenizer that `tokenizers` wrote: {error!r}") from None
    if unknown is not None and isinstance(vocabulary, dict) and unknown in vocabulary:
        tokens[unknown] = int(vocabulary[unknown])
    elif isinstance(model.get("unk_id"), int):
        tokens[""] = model["unk_id"]
    if len(vocabulary) > rows:
        raise ConfigError(f"{path} has {len(vocabulary):,} tokens, and the table of vectors {rows:,} rows")
    return tuple(sorted({at for at in tokens.values() if at < rows}))
