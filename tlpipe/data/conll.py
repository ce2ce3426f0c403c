"""Sentences whose words are tagged: CoNLL column files, or JSON lines of {"tokens": [...], "tags": [...]}."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, PrivateAttr

from tlpipe.config import ConfigError, suggest
from tlpipe.data.base import Sample, Source, files_below
from tlpipe.data.cells import require_characters, require_name
from tlpipe.data.packed import Split
from tlpipe.data.table import decoded, json_lines
from tlpipe.data.tag_schemes import BadTag, Scheme, to_iob2
from tlpipe.entities import OUTSIDE

Name = Annotated[str, Field(min_length=1)]
Column = Annotated[int, Field(ge=1, le=10_000)]
DOCUMENT = "-DOCSTART-"
LINES = ".jsonl"


@dataclass(frozen=True)
class Tagged:
    """A sentence."""

    words: tuple[str, ...]
    tags: tuple[str, ...]
    """In IOB2."""
    changed: int
    """Tags that were written otherwise."""


class Conll(Source):
    """One file, or one a split, in the folder `path`; a sample is a sentence, its id the file and its first line."""

    modality: ClassVar[Literal["image", "text"]] = "text"
    form: ClassVar[str] = "words"
    stratified: ClassVar[bool] = True
    grouping: ClassVar[str] = (
        "the sentences after a -DOCSTART- line are one document, which is one group; put such a line before every "
        "document, or remove the only one"
    )

    kind: Literal["conll"] = "conll"
    file: Name | None = None
    """Name of the only file; null = see `splits`. One that ends in .jsonl holds JSON lines, all others columns."""
    splits: dict[Literal["train", "validation", "test"], Name] | None = None
    """A file a split, such as {train: train.conll, test: test.conll}; null = see `file`."""
    token_column: Column = 1
    """Number of the column of words, counted from 1. Columns are separated by tabs, or by spaces in lines without a
    tab."""
    tag_column: Column | None = None
    """Number of the column of tags, counted from 1; null = the last column."""
    scheme: Scheme = "iob2"
    """Scheme of the tags in the file; they become IOB2. iob2 is also called BIO, bioes also BILOU."""
    encoding: str = "utf-8"
    """Character encoding of the files."""
    _sentences: dict[str, Tagged] = PrivateAttr(default_factory=dict)

    def scan(self) -> list[Sample]:
        """Every sentence. Sentences of one document (between -DOCSTART- lines) are a group.

        Raises:
            ConfigError: naming the line of what is no word with a tag.
        """
        samples = []
        for name, split in self._files():
            lines = self._json_lines(name) if name.endswith(LINES) else self._columns(name)
            for number, document, sentence in lines:
                sample = f"{name}:{number:08}"
                self._sentences[sample] = sentence
                stratum = "with entities" if set(sentence.tags) != {OUTSIDE} else "without entities"
                samples.append(Sample(sample, stratum, split, f"{name}:{document}" if document else None))
        if not samples:
            raise ConfigError(f"data.source: there is no sentence in {', '.join(name for name, _ in self._files())}")
        return sorted(samples)

    def ignored(self) -> list[str]:
        """Files in the folder that are not read."""
        named = {name for name, _ in self._files()}
        return sorted(name for name in files_below(self.root, self.root) if name not in named)

    def sentence(self, sample: str) -> Tagged:
        """The sentence with this id."""
        if not self._sentences:
            self.scan()
        return self._sentences[sample]

    def read(self, sample: str) -> bytes:
        """{"tokens": [...], "tags": [...]} as JSON, tags in IOB2."""
        sentence = self.sentence(sample)
        return json.dumps({"tokens": sentence.words, "tags": sentence.tags}, ensure_ascii=False).encode()

    def _files(self) -> list[tuple[str, Split | None]]:
        if (self.file is None) is (self.splits is None):
            raise ConfigError(
                "data.source: give either `file`, the name of one file, or `splits`, a file a split, such as "
                "{train: train.conll, test: test.conll}"
            )
        if self.file is not None:
            return [(self.file, None)]
        return [(name, split) for split, name in (self.splits or {}).items()]

    def _text(self, name: str) -> str:
        path = self.root / name
        if not path.is_file():
            there = sorted(files_below(self.root, self.root))
            raise ConfigError(f"data.source: {self.root} has no file {name!r}{suggest(name, there)}")
        return decoded(path, self.encoding)

    def _columns(self, name: str) -> Iterator[tuple[int, int, Tagged]]:
        """(first line, document, sentence); documents are counted from 1, and 0 where none begins."""
        pending: list[tuple[int, str, str]] = []
        document = width = 0
        for number, line in enumerate([*self._text(name).split("\n"), ""], start=1):
            fields = _fields(line)
            if fields and fields[0] != DOCUMENT:
                width = width or len(fields)
                pending.append((number, *self._pair(fields, width, f"{self.root / name}, line {number}")))
                continue
            if pending:
                yield pending[0][0], document, self._tagged(pending, self.root / name)
                pending = []
            document += bool(fields)

    def _pair(self, fields: list[str], width: int, where: str) -> tuple[str, str]:
        needed = max(self.token_column, self.tag_column or 2)
        if len(fields) < needed or (self.tag_column is None and len(fields) != width):
            expected = f"{needed} or more" if self.tag_column else f"{max(width, needed)}"
            raise ConfigError(
                f"{where}: {len(fields)} columns where {expected} are expected; each line is a word and its tag, "
                "separated by a tab or a space, and an empty line ends a sentence"
            )
        word, tag = fields[self.token_column - 1], fields[self.tag_column - 1 if self.tag_column else -1]
        if not word.strip():
            raise ConfigError(f"{where}: the word is empty; fill it in, or remove the line")
        return word, tag

    def _tagged(self, lines: list[tuple[int, str, str]], path: Path) -> Tagged:
        words, tags = tuple(line[1] for line in lines), tuple(line[2] for line in lines)
        for number, word, tag in lines:
            require_characters(f"{path}, line {number}", word)
            require_name(f"{path}, line {number}", tag)
        try:
            converted = tuple(to_iob2(tags, self.scheme))
        except BadTag as error:
            raise ConfigError(f"{path}, line {lines[error.at][0]}: {error}") from None
        return Tagged(words, converted, sum(before != after for before, after in zip(tags, converted, strict=True)))

    def _json_lines(self, name: str) -> Iterator[tuple[int, int, Tagged]]:
        path = self.root / name
        for number, line in json_lines(path, self._text(name))[1]:
            where = f"{path}, line {number}"
            words, tags = (_strings(line.get(key), f"{where}: {key!r}") for key in ("tokens", "tags"))
            if len(words) != len(tags):
                raise ConfigError(f"{where}: {len(words)} tokens and {len(tags)} tags; each token needs one")
            if not all(word.strip() for word in words) or not words:
                raise ConfigError(f"{where}: a token is empty, or there is none; remove it with its tag")
            yield number, 0, self._tagged([(number, *pair) for pair in zip(words, tags, strict=True)], path)


def _fields(line: str) -> list[str]:
    """The columns of a line; none where a sentence ends."""
    line = line.rstrip("\r")
    if not line.strip(" \t"):
        return []
    return line.split("\t") if "\t" in line else line.split(" ")


def _strings(value: Any, what: str) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise ConfigError(f'{what} must be a list of texts; a line is {{"tokens": ["A", "word"], "tags": ["O", "O"]}}')
    require_characters(what, "".join(value))
    return value
