"""Serving of token classification: texts or words in, entities with their places out."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from tlpipe.bundle import Bundle
from tlpipe.entities import types_of
from tlpipe.preprocess.characters import UnreadableText, require
from tlpipe.preprocess.text import TOKENIZER
from tlpipe.preprocess.words import WordPreprocess
from tlpipe.serve.http.request_body import parse_json
from tlpipe.serve.reading import (
    Answer,
    BadInput,
    Place,
    Probability,
    Reading,
    Row,
    Sample,
    Sent,
    Spend,
    bad_text,
    read_bytes,
    text_in,
)  # fmt: skip
from tlpipe.tagging import Sentence, Tagger
from tlpipe.tasks.shared.text_serving import check_tokens, padded_length

MOST_WINDOWS = 128
"""Of a text: each is a row of the graph's input."""
Words = Annotated[list[Sent], Field(json_schema_extra={"minItems": 1})]
DO = 'send a text, {"text": ...}, or words as ["...", ...] or {"words": ["...", ...]}'


class TextRequest(BaseModel):
    """A text."""

    model_config = ConfigDict(extra="forbid", strict=True)

    text: Sent


class WordsRequest(BaseModel):
    """A text that is cut into words."""

    model_config = ConfigDict(extra="forbid", strict=True)

    words: Words


class Entity(BaseModel):
    """An entity with its place in the text."""

    type: str
    text: str
    start: Place
    end: Place
    score: Probability


class EntityAnswer(BaseModel):
    """The text, and the entities in it."""

    text: str
    entities: list[Entity]


class TextEntities:
    """A text, or its words, in; the entities in it out."""

    media: ClassVar[tuple[str, ...]] = ("text/plain", "application/json")
    summary: ClassVar[str] = "Entities in texts"
    bodies: ClassVar[Mapping[str, Any]] = {
        "text/plain": Sent, "application/json": Sent | Words | TextRequest | WordsRequest,
    }  # fmt: skip
    tokens: ClassVar[bool] = True
    needs: ClassVar[str | None] = TOKENIZER
    endings: ClassVar[frozenset[str]] = frozenset((".txt", ".jsonl"))
    together: ClassVar[int] = 8
    cells_in: ClassVar[tuple[str, ...]] = ("text",)

    def __init__(self, bundle: Bundle, folder: Path, max_pixels: int | None = None) -> None:
        self.limits, self.labels = bundle.limits, bundle.labels
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

    def answer_model(self) -> type[BaseModel]:
        """`EntityAnswer` with the bundle's types."""
        kinds: Any = Literal[types] if (types := types_of(self.labels)) else str
        entity = create_model("Entity", __base__=Entity, type=(kinds, ...))
        return create_model("EntityAnswer", __base__=EntityAnswer, entities=(list[entity], ...))  # type: ignore[valid-type]

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
    if isinstance(found, Mapping):
        found = _requested(found)
    if isinstance(found, str):
        return found
    if isinstance(found, list | tuple) and all(isinstance(word, str) for word in found):
        if all(word.strip() for word in found):
            return list(found)
        raise BadInput("a word is empty; leave it out")
    raise BadInput(f"got {type(found).__name__} that is neither a text nor a list of words; {DO}")


def _requested(given: Mapping[str, Any]) -> str | list[str]:
    """The text or the words of an object. Raises BadInput for one with other keys, or with other values."""
    plain = {key: list(value) if isinstance(value, tuple) else value for key, value in given.items()}
    try:
        if "words" in plain:
            return WordsRequest.model_validate(plain).words
        return TextRequest.model_validate(plain).text
    except ValidationError:
        pass
    if len(plain) == 1 and (key := next(iter(plain))) in ("text", "words"):
        raise BadInput(f"{key!r} holds {type(plain[key]).__name__}; {DO}")
    raise BadInput(f"got {type(given).__name__} that is neither a text nor a list of words; {DO}")


READINGS: dict[str, type[Reading]] = {"words": TextEntities}
