"""Requests of tasks on texts in serving: a text, or a pair of texts, as tokens or as n-grams."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, cast

from pydantic import BaseModel, ConfigDict, ValidationError

from tlpipe.bundle import Bundle
from tlpipe.preprocess.characters import UnreadableText, read_text
from tlpipe.preprocess.limits import MAX_CHARACTERS
from tlpipe.preprocess.ngrams import COUNTS, IDS, VOCABULARY, NgramPreprocess, Ngrams, pad
from tlpipe.preprocess.text import TOKENIZER, Text, TextPreprocess, Tokenizer, TokenPreprocess
from tlpipe.serve.http.request_body import parse_json
from tlpipe.serve.reading import BadInput, Row, Sample, Sent, Spend, bad_text, read_bytes, text_in

MOST_BYTES = 4 * MAX_CHARACTERS
"""Of a text in JSON."""
SEND = 'send a text, or a pair as {"text": ..., "pair": ...}'
NGRAM_STEP = 128
"""N-grams to a multiple of which a text's are padded, for the same reason as STEP."""
STEP = 16
"""Tokens to a multiple of which texts are padded, so that texts of about one length share a batch."""


class TextRequest(BaseModel):
    """A text, or a pair of texts."""

    model_config = ConfigDict(extra="forbid", strict=True)

    text: Sent
    pair: Sent | None = None


class Texts:
    """Reads a text, or a pair of texts, a sample."""

    media: ClassVar[tuple[str, ...]] = ("text/plain", "application/json")
    bodies: ClassVar[Mapping[str, Any]] = {"text/plain": Sent, "application/json": Sent | TextRequest}
    tokens: ClassVar[bool] = False
    needs: ClassVar[str | None] = TOKENIZER
    endings: ClassVar[frozenset[str]] = frozenset((".txt", ".jsonl"))
    together: ClassVar[int] = 8
    cells_in: ClassVar[tuple[str, ...]] = ("text", "pair")

    def __init__(self, bundle: Bundle, folder: Path, max_pixels: int | None = None) -> None:
        self.limits = bundle.limits
        self.preprocess = cast(TextPreprocess, bundle.preprocessing)  # of every bundle of this task
        self.tokenizer = Tokenizer(folder / TOKENIZER, self.preprocess)

    def decode(self, raw: bytes, media: str = "text/plain", spend: Spend | None = None) -> Sample:
        """UTF-8 text, or JSON: a text, or {"text": ..., "pair": ...}, of which `pair` may be left out."""
        if media == "text/plain":
            return self._tokens((text_in(raw),))
        found = parse_json(raw, 2 * MOST_BYTES)
        if isinstance(found, list):  # a pair, or several texts? Python's callers give a list of samples and know
            raise BadInput(f"got a list; {SEND}; several texts are parts of a multipart/form-data body")
        return self._tokens(_texts(found, SEND))

    def load(self, item: Any) -> Sample:
        """A text, a pair of texts, {"text": ..., "pair": ...}, the bytes of a text, or the path of a text file."""
        if isinstance(item, Path):
            item = read_bytes(item)
        if isinstance(item, bytes | bytearray | memoryview):
            return self._tokens((text_in(bytes(item)),))
        return self._tokens(_texts(item, "give a text, a pair of texts, or the path of a text file"))

    def _tokens(self, texts: Text) -> Sample:
        try:
            read = tuple(read_text(text, self.limits.max_characters) for text in texts)
        except UnreadableText as error:
            raise bad_text(error) from None
        return Sample((self._feeds(read),))

    def _feeds(self, read: Text) -> Row:
        row = next(self.tokenizer.rows([read]))
        padded = self.preprocess.pad([(row.ids, row.types)], padded_length(len(row.ids), self.preprocess))[0]
        return dict(zip(self.preprocess.inputs, padded, strict=True))

    def check(self, feeds: Row) -> None:
        """Refuse tokens that the network has no row for, and texts that are longer than it knows places."""
        check_tokens(feeds, self.preprocess, self.vocabulary)

    @property
    def vocabulary(self) -> int:
        """Tokens that the tokenizer knows."""
        return self.tokenizer.fast.get_vocab_size()

    def example(self) -> Sample:
        """A word."""
        return self._tokens(("example",))


class Ngrammed(Texts):
    """The same for a TF-IDF bundle, which has a vocabulary in the place of a tokenizer."""

    needs: ClassVar[str | None] = VOCABULARY

    def __init__(self, bundle: Bundle, folder: Path, max_pixels: int | None = None) -> None:
        self.limits = bundle.limits
        self.ngrams = Ngrams(folder / VOCABULARY, cast(NgramPreprocess, bundle.preprocessing))

    def _feeds(self, read: Text) -> Row:
        return dict(zip((IDS, COUNTS), pad([self.ngrams.count(read)], NGRAM_STEP)[0], strict=True))

    def check(self, feeds: Row) -> None:
        """Refuse n-grams that the model has no row for, and counts that no text has."""
        shapes = {name: feeds[name].shape for name in (IDS, COUNTS)}
        if len(set(shapes.values())) > 1 or not 1 <= shapes[IDS][1] <= MAX_CHARACTERS:
            raise BadInput(f"the inputs have shapes {shapes}; both are (texts, n-grams), at least one of these")
        for name, most in ((IDS, self.vocabulary), (COUNTS, MAX_CHARACTERS)):
            if feeds[name].min() < 0 or feeds[name].max() >= most:
                raise BadInput(f"{name} has values outside of 0 to {most - 1}")

    @property
    def vocabulary(self) -> int:
        """N-grams that there are."""
        return self.ngrams.size


def check_tokens(feeds: Row, preprocess: TokenPreprocess, vocabulary: int) -> None:
    """Raises BadInput for tokens (N, L) that a network with so many words has no row for, or too many of them."""
    shapes = {name: feeds[name].shape for name in preprocess.inputs}
    _, length = next(iter(shapes.values()))
    if len(set(shapes.values())) > 1:
        raise BadInput(f"the inputs have different shapes: {shapes}")
    if not 1 <= length <= preprocess.max_length:
        raise BadInput(f"texts of {length} tokens were sent; 1 to {preprocess.max_length} are taken")
    for name, most in zip(preprocess.inputs, (vocabulary, 2, 2), strict=False):
        if feeds[name].min() < 0 or feeds[name].max() >= most:
            raise BadInput(f"{name} has values outside of 0 to {most - 1}")


def padded_length(longest: int, preprocess: TokenPreprocess) -> int:
    """Tokens to which rows are padded: of about `longest` tokens, many rows share a length, and with it a batch."""
    return min(-(-longest // STEP) * STEP, preprocess.max_length)


def _texts(found: Any, do: str) -> Text:
    """One text or two. Raises BadInput for anything else."""
    texts = [found] if isinstance(found, str) else found
    if isinstance(found, dict):
        try:
            request = TextRequest.model_validate(found)
        except ValidationError:
            raise BadInput(f"got {type(found).__name__} that is neither a text nor a pair of texts; {do}") from None
        texts = [text for text in (request.text, request.pair) if text is not None]
    if isinstance(texts, Sequence) and 1 <= len(texts) <= 2 and all(isinstance(text, str) for text in texts):
        return tuple(texts)
    raise BadInput(f"got {type(found).__name__} that is neither a text nor a pair of texts; {do}")
