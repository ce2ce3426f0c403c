"""Texts: tokenized once, compared by their shingles, written as flat arrays with the shortest of a split first."""

import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from tlpipe.config import ConfigError
from tlpipe.data import tokens
from tlpipe.data.duplicates import Rejected, reject
from tlpipe.data.reader import Intake, Pairs
from tlpipe.data.shingles import content_hash, near_texts, shingles
from tlpipe.data.text_table import TextTable
from tlpipe.preprocess.text import TOKENIZER, Text, Tokenizer

TEXTS = "texts.jsonl"
"""The raw texts, a JSON list a row: for baselines, reports and people."""


class TextReader:
    """The `Reader` of texts. Rows of a split are in order of their length, so that neighbours need little padding."""

    columns = ("sha256", "tokens", "truncated")

    def __init__(self, intake: Intake) -> None:
        source, samples = intake.data.source, intake.samples
        if not isinstance(source, TextTable):
            raise ConfigError(f"data.source.kind: {source.kind} holds no texts, and the backbone reads texts")
        if intake.tokenizer is None:
            raise ConfigError("texts need a tokenizer; the tokenizer stage writes data/tokenizer: run `dvc repro`")
        self.tokenizer = intake.tokenizer / TOKENIZER
        self.texts: list[Text] = [source.text(sample.id) for sample in samples]
        self.rejected: dict[int, Rejected] = {
            index: reject(samples[index], "empty", "a text without any characters")
            for index, text in enumerate(self.texts)
            if not all(text)
        }
        used = [index for index in range(len(samples)) if index not in self.rejected]
        rows = Tokenizer(self.tokenizer, intake.preprocess).rows([self.texts[index] for index in used])
        self.rows = dict(zip(used, intake.track(rows, "tokenizing", len(used), "texts"), strict=True))
        self.content = {index: content_hash(self.texts[index]) for index in used}

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

    def write(self, folder: Path, rows: Sequence[int]) -> None:
        """The flat arrays, the tokenizer that made them, and the raw texts."""
        tokens.write(folder, [(self.rows[row].ids, self.rows[row].types) for row in rows])
        shutil.copyfile(self.tokenizer, folder / TOKENIZER)
        lines = (json.dumps(self.texts[row], ensure_ascii=False) for row in rows)
        (folder / TEXTS).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")

    def report(self, rows: Sequence[int]) -> dict[str, Any]:
        """Lengths in tokens, and how many texts were cut off."""
        lengths = [self.place(row) for row in rows]
        return {
            "texts": {
                "tokens": {"min": min(lengths), "median": median(lengths), "max": max(lengths)},
                "truncated": sum(self.rows[row].truncated for row in rows),
            }
        }
