"""Texts in, entities with their places out."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, cast

from tlpipe.bundle import Bundle
from tlpipe.preprocess.characters import UnreadableText, require
from tlpipe.preprocess.text import TOKENIZER
from tlpipe.preprocess.words import WordPreprocess
from tlpipe.serve.body import parse_json
from tlpipe.serve.reading import Answer, BadInput, Row, Sample, Spend, bad_text, read_bytes, text_in
from tlpipe.serve.texts import check_tokens, padded_length
from tlpipe.tagging import Sentence, Tagger

MOST_WINDOWS = 128
"""Of a text: each is a row of the graph's input."""
DO = 'send a text, {"text": ...}, or words as ["...", ...] or {"words": ["...", ...]}'


class TextEntities:
    """A text, or its words, in; the entities in it out."""

    media: ClassVar[tuple[str, ...]] = ("text/plain", "application/json")
    form: ClassVar[str] = "words"
    endings: ClassVar[frozenset[str]] = frozenset((".txt", ".jsonl"))
    together: ClassVar[int] = 8
    cells_in: ClassVar[tuple[str, ...]] = ("text",)

    def __init__(self, bundle: Bundle, folder: Path, max_pixels: int | None = None) -> None:
        self.limits = bundle.limits
        self.preprocess = cast(WordPreprocess, bundle.preprocessing)  # of every bundle of this task
        self.tagger = Tagger(folder / TOKENIZER, self.preprocess, bundle.labels)

    def decode(self, raw: bytes, media: str = "text/plain", spend: Spend | None = None) -> Sample:
        """UTF-8 text, or JSON: a text, a list of words, or either in an object as `text` or `words`."""
        if media == "text/plain":
            return self._read(text_in(raw))
        return self._read(_text(parse_json(raw, 8 * self.limits.max_characters)))

    def load(self, item: Any) -> Sample:
        """A text, a list of words, either in a mapping, the bytes of a text, or the path of a text file."""
        if isinstance(item, Path):
            item = read_bytes(item)
        if isinstance(item, bytes | bytearray | memoryview):
            return self._read(text_in(bytes(item)))
        return self._read(_text(item))

    def _read(self, text: str | list[str]) -> Sample:
        try:
            require(text if isinstance(text, str) else " ".join(text), self.limits.max_characters)
        except UnreadableText as error:
            raise bad_text(error) from None
        sentence = self.tagger.read(text)
        count = len(sentence.windows)
        if count > MOST_WINDOWS:
            raise BadInput(f"the text is too long: {count} windows; at most {MOST_WINDOWS} are taken", 413)
        length = padded_length(max(len(window.ids) for window in sentence.windows), self.preprocess)
        padded = self.preprocess.pad([(window.ids, window.types) for window in sentence.windows], length)
        rows = tuple(dict(zip(self.preprocess.inputs, row, strict=True)) for row in padded)
        return Sample(rows, sentence)

    def check(self, feeds: Row) -> None:
        """Refuse tokens that the network has no row for, and texts that are longer than it knows places."""
        check_tokens(feeds, self.preprocess, self.vocabulary)

    def answer(self, sample: Sample, outputs: Sequence[Row], top: int = 5) -> Answer:
        """`text`, and its `entities` with `type`, `text`, `start`, `end` (characters) and `score`."""
        sentence: Sentence = sample.about
        found = self.tagger.entities(sentence, [row["probabilities"] for row in outputs])
        return {"text": sentence.text, "entities": found}

    @property
    def vocabulary(self) -> int:
        """Tokens that the tokenizer knows."""
        return self.tagger.tokenizer.fast.get_vocab_size()

    def example(self) -> Sample:
        """A word."""
        return self._read("example")

    def columns(self, every: bool = False) -> tuple[str, ...]:
        """`entities`, a JSON list."""
        return ("entities",)

    def cells(self, answer: Answer) -> Sequence[Any]:
        """The entities as JSON."""
        return [json.dumps(answer["entities"], ensure_ascii=False)]


def _text(found: Any) -> str | list[str]:
    """A text or words. Raises BadInput for anything else."""
    if isinstance(found, Mapping) and len(found) == 1 and set(found) <= {"text", "words"}:
        ((key, found),) = found.items()
        if isinstance(found, str) is not (key == "text"):
            raise BadInput(f"{key!r} holds {type(found).__name__}; {DO}")
    if isinstance(found, str):
        return found
    if isinstance(found, list | tuple) and all(isinstance(word, str) for word in found):
        if all(word.strip() for word in found):
            return list(found)
        raise BadInput("a word is empty; leave it out")
    raise BadInput(f"got {type(found).__name__} that is neither a text nor a list of words; {DO}")
