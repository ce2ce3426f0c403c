"""What a text goes through before the network sees it: a tokenizer.json, and where it is cut off. No torch here."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from tlpipe.config import ConfigError, Spec

if TYPE_CHECKING:
    from tokenizers import Encoding
    from tokenizers import Tokenizer as Fast

TOKENIZER = "tokenizer.json"
INPUTS = ("input_ids", "attention_mask", "token_type_ids")
"""Rows of a network's input, in order; also the names of the exported graph's inputs."""
Text = tuple[str, ...]
"""One text, or a pair of texts."""
CHUNK = 1000
"""Texts that are tokenized together."""


class TokenPreprocess(Spec):
    """Tokens between the tokenizer's special tokens, at most `max_length` of them: what all kinds of texts share."""

    kind: str
    max_length: Annotated[int, Field(ge=8, le=8192)] = 128
    """Tokens that the network sees at most, special ones included; of a pair the longer text is cut first."""
    pad_id: Annotated[int, Field(ge=0)] = 0
    """Fills the shorter texts of a batch, on the right."""
    token_types: bool = True
    """Whether the network is told which tokens are of a pair's second text."""

    def example(self) -> NDArray[np.int64]:
        """One input of the network: eight tokens (1, C, 8)."""
        return np.ones((1, len(self.inputs), 8), np.int64)

    def inside(self) -> str:
        """What the exported graph does before the network, for people: nothing, tokenizer.json is beside it."""
        return ""

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the rows of an input."""
        return INPUTS if self.token_types else INPUTS[:2]

    def evaluation(self, packed: NDArray[np.int64]) -> NDArray[np.int64]:
        """What the network takes of packed rows (B, C, L): just these."""
        return packed

    def batch(self, tokens: NDArray[np.int64]) -> NDArray[np.int64]:
        """Texts become tokens by a `Tokenizer`; tokens (N, C, L) are what the network takes."""
        return tokens

    def pad(self, rows: Sequence[tuple[NDArray[np.int32], NDArray[np.uint8]]], length: int = 1) -> NDArray[np.int64]:
        """(ids, token types) of B texts -> (B, C, L) int64: rows as `inputs` says, L of the longest or `length`."""
        longest = max(len(ids) for ids, _ in rows)
        batch = np.zeros((len(rows), len(self.inputs), max(longest, length)), np.int64)
        batch[:, 0] = self.pad_id
        for row, (ids, types) in zip(batch, rows, strict=True):
            row[0, : len(ids)] = ids
            row[1, : len(ids)] = 1
            if self.token_types:
                row[2, : len(ids)] = types
        return batch


def even(longest: int, most: int) -> int:
    """A length for a batch: on CPUs bf16 products over odd ones take twice as long. Not above `most` if it was not."""
    return max(longest, min(longest + longest % 2, most))


class TextPreprocess(TokenPreprocess):
    """Tokens of a text (or of a pair) between the tokenizer's special tokens, cut off at `max_length`."""

    kind: Literal["text"] = "text"


def load_tokenizer(path: Path) -> "Fast":
    """The tokenizer of a tokenizer.json, without padding and truncation. Raises ConfigError when it cannot be read."""
    from tokenizers import Tokenizer as Fast

    if not path.is_file():
        raise ConfigError(f"{path} does not exist; the tokenizer stage writes it: run `dvc repro`")
    try:
        fast = Fast.from_file(str(path))
    except Exception as error:  # tokenizers raises Exception itself
        raise ConfigError(f"{path} is not a tokenizer that `tokenizers` can read: {error}") from None
    fast.no_padding()
    fast.no_truncation()
    return fast


class Tokenizer:
    """A tokenizer.json, with the truncation of a `TextPreprocess`: equal texts give equal ids wherever it runs."""

    def __init__(self, path: Path, preprocess: TextPreprocess) -> None:
        self.fast = load_tokenizer(path)
        self.preprocess = preprocess
        self.fast.enable_truncation(preprocess.max_length, strategy="longest_first")

    def rows(self, texts: Sequence[Text]) -> Iterator["Row"]:
        """The tokens of each text or pair, in order."""
        for start in range(0, len(texts), CHUNK):
            part = [text[0] if len(text) == 1 else (text[0], text[1]) for text in texts[start : start + CHUNK]]
            yield from map(Row, self.fast.encode_batch(part))

    def __call__(self, texts: Sequence[Text]) -> dict[str, NDArray[np.int64]]:
        """Raw texts or pairs -> {input name: (B, L) int64}: what the exported graph takes."""
        batch = self.preprocess.pad([(row.ids, row.types) for row in self.rows(texts)])
        return {name: np.ascontiguousarray(batch[:, index]) for index, name in enumerate(self.preprocess.inputs)}


class Row:
    """The tokens of one text."""

    def __init__(self, encoding: "Encoding") -> None:
        self.ids = np.asarray(encoding.ids, np.int32)
        self.types = np.asarray(encoding.type_ids, np.uint8)
        self.special = np.asarray(encoding.special_tokens_mask, bool)
        self.truncated = bool(encoding.overflowing)
