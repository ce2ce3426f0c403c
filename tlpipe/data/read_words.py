"""Tagged sentences: tokenized once and cut into windows, compared by their shingles, written as flat arrays."""

import hashlib
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlpipe.config import ConfigError
from tlpipe.data import tokens
from tlpipe.data.base import listing
from tlpipe.data.conll import Conll
from tlpipe.data.duplicates import Rejected, reject
from tlpipe.data.packed import SPLITS, Split
from tlpipe.data.read_texts import tokenizer_of, write_texts
from tlpipe.data.reader import Intake, Pairs
from tlpipe.data.shingles import content_hash, near_texts, shingles
from tlpipe.data.targets import IGNORED
from tlpipe.entities import OUTSIDE, types_of
from tlpipe.preprocess.characters import UnreadableText, require
from tlpipe.preprocess.text import TOKENIZER
from tlpipe.preprocess.words import MAX_CHARACTERS, Window, WordTokenizer


class WordReader:
    """The `Reader` of tagged sentences. Rows are windows; those of a sentence stand together, short sentences first."""

    columns = ("sha256", "tokens", "windows")

    def __init__(self, intake: Intake) -> None:
        source = intake.data.source
        if not isinstance(source, Conll):
            raise ConfigError(
                f"data.source.kind: {source.kind} holds no tagged words, and the task learns tags of words"
            )
        self.source, self.ids = source, [sample.id for sample in intake.samples]
        self.tokenizer = tokenizer_of(intake)
        self.sentences = [source.sentence(name) for name in self.ids]
        self.types = types_of([tag for sentence in self.sentences for tag in sentence.tags])
        if not self.types:
            raise ConfigError("data.source: every tag is O, so there is nothing to learn; see data.source.tag_column")
        self.classes = tuple(sorted([OUTSIDE, *(f"{prefix}-{name}" for prefix in "BI" for name in self.types)]))
        self.rejected: dict[int, Rejected] = {}
        self._reject(intake)
        tokenizer = WordTokenizer(self.tokenizer, intake.preprocess)
        listed = intake.track(self.sentences, "tokenizing", len(self.sentences), "sentences")
        self.windows: list[list[Window]] = [tokenizer.windows(sentence.words) for sentence in listed]
        self.texts = [(" ".join(sentence.words),) for sentence in self.sentences]
        self.content = {
            index: content_hash(text) for index, text in enumerate(self.texts) if index not in self.rejected
        }

    def _reject(self, intake: Intake) -> None:
        """Sentences that serving does not take."""
        for index, sentence in enumerate(self.sentences):
            try:
                require(" ".join(sentence.words), MAX_CHARACTERS)
            except UnreadableText as error:
                self.rejected[index] = reject(intake.samples[index], error.reason, error.detail)

    def truth(self, index: int) -> str:
        """Its tags."""
        return " ".join(self.sentences[index].tags)

    def near(self, among: set[int], threshold: float) -> Pairs:
        """By the Jaccard similarity of their character 5-grams, see tlpipe.data.shingles."""
        return near_texts({index: shingles(self.texts[index]) for index in sorted(among)}, threshold)

    def place(self, index: int) -> int:
        """Tokens of its windows, all of one length where there are several."""
        return len(self.windows[index][0].ids)

    def parts(self, index: int) -> int:
        """Its windows."""
        return len(self.windows[index])

    def describe(self, index: int) -> tuple[object, ...]:
        """Hash of words and tags, tokens of all windows, and how many windows there are."""
        raw = hashlib.sha256(self.source.read(self.ids[index])).hexdigest()
        return raw, sum(len(window.ids) for window in self.windows[index]), self.parts(index)

    def labels(self, samples: Sequence[int]) -> NDArray[np.int64]:
        """Number of the tag of each token with which a window decides a word (T,); IGNORED for all others."""
        number = {name: at for at, name in enumerate(self.classes)}
        parts = []
        for index in samples:
            tags = np.array([number[tag] for tag in self.sentences[index].tags], np.int64)
            parts += [np.where(each.words >= 0, tags[each.words], IGNORED) for each in self.windows[index]]
        return np.concatenate(parts)

    def write(self, folder: Path, samples: Sequence[int]) -> None:
        """The flat arrays, the tokenizer that made them, and the words of each sentence."""
        tokens.write(folder, [(each.ids, each.types) for index in samples for each in self.windows[index]])
        shutil.copyfile(self.tokenizer, folder / TOKENIZER)
        write_texts(folder, [self.sentences[index].words for index in samples])

    def report(self, samples: Mapping[int, Split]) -> dict[str, Any]:
        """Lengths in tokens, sentences of several windows, and the entities by split and type.

        Raises:
            ConfigError: a type has no entity in the train split.
        """
        entities: dict[str, Counter[str]] = {split: Counter() for split in SPLITS}
        for index, split in samples.items():
            entities[split].update(tag[2:] for tag in self.sentences[index].tags if tag.startswith("B-"))
        missing = [name for name in self.types if not entities["train"][name]]
        if missing:
            raise ConfigError(
                f"data: no sentence of the train split has an entity of the type {listing(missing)}; add some, or "
                "remove the type from the source"
            )
        lengths = [sum(len(each.ids) for each in self.windows[index]) for index in samples]
        return {
            "texts": {
                "tokens": {"min": min(lengths), "median": median(lengths), "max": max(lengths)},
                "truncated": 0,
                "windowed": sum(self.parts(index) > 1 for index in samples),
            },
            "entities": {split: {name: counts[name] for name in self.types} for split, counts in entities.items()},
            "tags": {
                "scheme": self.source.scheme,
                "changed": sum(self.sentences[index].changed for index in samples),
            },
        }
