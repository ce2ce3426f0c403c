"""Texts: tokenized once, compared by their shingles, written as flat arrays with the shortest of a split first."""

import hashlib
import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from tlpipe.config import ConfigError
from tlpipe.data import tokens
from tlpipe.data.duplicates import Rejected, reject
from tlpipe.data.packed import Split
from tlpipe.data.reader import Intake, OneLabel, Pairs
from tlpipe.data.shingles import content_hash, near_texts, shingles
from tlpipe.data.text_table import TextTable
from tlpipe.preprocess.characters import UnreadableText, read_text
from tlpipe.preprocess.limits import MAX_CHARACTERS
from tlpipe.preprocess.text import TOKENIZER, Text, Tokenizer

TEXTS = "texts.jsonl"
"""The raw texts, a JSON list a row: for baselines, reports and people."""


class TextReader(OneLabel):
    """The `Reader` of texts. Rows of a split are in order of their length, so that neighbours need little padding."""

    columns = ("sha256", "tokens", "truncated")

    def __init__(self, intake: Intake) -> None:
        source, samples = intake.data.source, intake.samples
        super().__init__(samples)
        self.samples = samples
        if not isinstance(source, TextTable):
            raise ConfigError(f"data.source.kind: {source.kind} holds no texts, and the backbone reads texts")
        self.tokenizer = tokenizer_of(intake)
        self.rejected: dict[int, Rejected] = {}
        self.texts: list[Text] = [self._read(index, source.text(sample.id)) for index, sample in enumerate(samples)]
        used = [index for index in range(len(samples)) if index not in self.rejected]
        rows = Tokenizer(self.tokenizer, intake.preprocess).rows([self.texts[index] for index in used])
        self.rows = dict(zip(used, intake.track(rows, "tokenizing", len(used), "texts"), strict=True))
        self.content = {index: content_hash(self.texts[index]) for index in used}

    def _read(self, index: int, raw: Text) -> Text:
        """The text or the pair as serving reads it too; rejected where it cannot be used."""
        try:
            return tuple(read_text(text, MAX_CHARACTERS) for text in raw)
        except UnreadableText as error:
            self.rejected[index] = reject(self.samples[index], error.reason, error.detail)
            return raw

    def near(self, among: set[int], threshold: float) -> Pairs:
        """By the Jaccard similarity of their character 5-grams, see tlpipe.data.shingles."""
        return near_texts({index: shingles(self.texts[index]) for index in sorted(among)}, threshold)

    def place(self, index: int) -> int:
        """Its number of tokens."""
        return len(self.rows[index].ids)

    def describe(self, index: int) -> tuple[object, ...]:
        """Hash of the raw texts, tokens that are kept, and whether some were cut off."""
        raw = hashlib.sha256(json.dumps(self.texts[index], ensure_ascii=False).encode()).hexdigest()
        return raw, len(self.rows[index].ids), int(self.rows[index].truncated)

    def write(self, folder: Path, samples: Sequence[int]) -> None:
        """The flat arrays, the tokenizer that made them, and the raw texts."""
        tokens.write(folder, [(self.rows[row].ids, self.rows[row].types) for row in samples])
        shutil.copyfile(self.tokenizer, folder / TOKENIZER)
        write_texts(folder, [self.texts[index] for index in samples])

    def report(self, samples: Mapping[int, Split]) -> dict[str, Any]:
        """Lengths in tokens, and how many texts were cut off."""
        lengths = [self.place(index) for index in samples]
        return {
            "texts": {
                "tokens": {"min": min(lengths), "median": median(lengths), "max": max(lengths)},
                "truncated": sum(self.rows[index].truncated for index in samples),
            }
        }


def tokenizer_of(intake: Intake) -> Path:
    """The tokenizer.json that texts are packed with. Raises ConfigError where no stage wrote one."""
    if intake.tokenizer is None:
        raise ConfigError("texts need a tokenizer; the tokenizer stage writes data/tokenizer: run `dvc repro`")
    return intake.tokenizer / TOKENIZER


def write_texts(folder: Path, texts: Iterable[Sequence[str]]) -> None:
    """Write `texts.jsonl`, a line each."""
    lines = (json.dumps(text, ensure_ascii=False) for text in texts)
    (folder / TEXTS).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def read_texts(folder: Path) -> list[tuple[str, ...]]:
    """What `write_texts` wrote."""
    lines = (folder / TEXTS).read_text(encoding="utf-8").split("\n")
    return [tuple(json.loads(line)) for line in lines if line]
