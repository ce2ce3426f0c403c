"""Plain text for pretraining: documents of sentences, the tokenizer that is trained on them, their packed tokens."""

import json
import re
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tlpipe.config import ConfigError
from tlpipe.files import read_file

if TYPE_CHECKING:
    from tokenizers import Tokenizer

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=\S)")
TOKENS, SENTENCES, DOCUMENTS, ABOUT = "tokens.bin", "sentences.npy", "documents.npy", "corpus.json"
CHUNK = 2000
"""Sentences that are tokenized together."""


def read_documents(paths: Iterable[str]) -> Iterator[list[str]]:
    """The sentences of each document: a blank line ends a document, an end of line or . ! ? with a space a sentence.

    Raises ConfigError for a path without text, or a file that is not UTF-8.
    """
    for path in paths:
        for file in _files(Path(path)):
            try:
                text = read_file(file).decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
            except UnicodeDecodeError as error:
                raise ConfigError(f"backbone.corpus: {file} is not UTF-8 ({error.reason}); save it as UTF-8") from None
            for block in re.split(r"\n\s*\n", text):
                sentences = [part.strip() for line in block.split("\n") for part in SENTENCE_END.split(line.strip())]
                if kept := [sentence for sentence in sentences if sentence]:
                    yield kept


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    files = sorted(path.rglob("*.txt")) if path.is_dir() else []
    if not files:
        what = "holds no .txt files" if path.is_dir() else "does not exist"
        raise ConfigError(f"backbone.corpus: {str(path)!r} {what} (seen from {Path.cwd()})")
    return files


def train_wordpiece(texts: Iterable[str], vocabulary: int, lowercase: bool, path: Path) -> None:
    """Write a BERT tokenizer.json with at most `vocabulary` word pieces; equal texts give equal files."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

    def untrained(vocab: dict[str, int] | None) -> Tokenizer:
        tokenizer = Tokenizer(models.WordPiece(vocab, unk_token="[UNK]", max_input_chars_per_word=100))  # noqa: S106
        tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        tokenizer.decoder = decoders.WordPiece()
        return tokenizer

    known, teacher = list(texts), untrained(None)
    # The trainer numbers the characters that go on with a word in the order of a hash table, which differs from run to
    # run and decides between equally frequent pieces; what is called special is numbered in the given order.
    first = [*SPECIAL, *sorted(_continuing(known, teacher))]
    trainer = trainers.WordPieceTrainer(vocab_size=vocabulary, special_tokens=first, show_progress=False)
    teacher.train_from_iterator(known, trainer)
    tokenizer = untrained(teacher.get_vocab())
    tokenizer.add_special_tokens(list(SPECIAL))
    # special tokens come first, in their order
    ends = ("[SEP]", SPECIAL.index("[SEP]")), ("[CLS]", SPECIAL.index("[CLS]"))
    tokenizer.post_processor = processors.BertProcessing(*ends)
    tokenizer.save(str(path))


def _continuing(texts: Iterable[str], tokenizer: "Tokenizer") -> set[str]:
    """`##c` for every character c that goes on with a word somewhere in `texts`."""
    words: set[str] = set()
    for text in texts:
        normal = tokenizer.normalizer.normalize_str(text)
        words.update(word for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(normal))
    return {f"##{character}" for character in set().union(*(word[1:] for word in words))}


@dataclass(frozen=True)
class Corpus:
    """Documents of sentences of tokens, without special ones, in flat arrays; the tokens are mapped.

    `tokens.bin` int32 and nothing else; `sentences.npy` int64 (S + 1,), where each sentence begins among the tokens;
    `documents.npy` int64 (D + 1,), where each document begins among the sentences.
    """

    tokens: NDArray[np.int32]
    sentences: NDArray[np.int64]
    documents: NDArray[np.int64]
    special: dict[str, int]
    """Ids of the special tokens."""
    continues: NDArray[np.bool_]
    """(V,) whether a token goes on with the word before it."""

    @cached_property
    def ordinary(self) -> NDArray[np.bool_]:
        """(V,) whether a token is not a special one."""
        return ~np.isin(np.arange(len(self.continues)), list(self.special.values()))

    @classmethod
    def open(cls, folder: Path) -> "Corpus":
        """Map what `pack_corpus` wrote."""
        about: dict[str, Any] = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        tokens = np.memmap(folder / TOKENS, np.int32, "r")
        sentences, documents = (np.load(folder / name) for name in (SENTENCES, DOCUMENTS))
        return cls(tokens, sentences, documents, about["special"], np.array(about["continues"], bool))


def pack_corpus(documents: Iterable[Sequence[str]], tokenizer: Path, folder: Path) -> Iterator[int]:
    """Write the arrays of `Corpus` to `folder`, `corpus.json` last; yields the number of sentences of each part.

    Of what was packed, 8 bytes a sentence and a document stay in memory until the end.

    Raises ConfigError when the tokenizer lacks a special token, or there are fewer than two documents.
    """
    from tokenizers import Tokenizer

    fast = Tokenizer.from_file(str(tokenizer))
    vocabulary: dict[str, int] = fast.get_vocab()
    if absent := [token for token in SPECIAL if token not in vocabulary]:
        raise ConfigError(f"{tokenizer} has no {', '.join(absent)}; BERT's pretraining needs {', '.join(SPECIAL)}")
    folder.mkdir(parents=True, exist_ok=True)
    ends, lengths = array("q", [0]), array("q", [0])
    waiting: list[str] = []
    with (folder / TOKENS).open("wb") as tokens:
        for document in documents:
            waiting += document
            ends.append(ends[-1] + len(document))
            if len(waiting) >= CHUNK:
                _encode(fast, waiting, tokens, lengths)
                yield len(waiting)
                waiting = []
        _encode(fast, waiting, tokens, lengths)
    if len(ends) < 3:
        raise ConfigError("backbone.corpus: next-sentence prediction needs two documents; blank lines separate them")
    np.save(folder / SENTENCES, np.cumsum(lengths, dtype=np.int64))
    np.save(folder / DOCUMENTS, np.array(ends, np.int64))
    pieces = sorted(vocabulary, key=lambda piece: vocabulary[piece])
    about = {
        "special": {token: vocabulary[token] for token in SPECIAL},
        "continues": [int(piece.startswith("##")) for piece in pieces],
    }
    (folder / ABOUT).write_text(json.dumps(about), encoding="utf-8")
    yield len(waiting)


def _encode(fast: Any, sentences: list[str], tokens: IO[bytes], lengths: "array[int]") -> None:
    for encoding in fast.encode_batch(sentences, add_special_tokens=False):
        tokens.write(np.asarray(encoding.ids, np.int32).tobytes())
        lengths.append(len(encoding.ids))
