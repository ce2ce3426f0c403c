"""Questions: tokenized with their contexts into windows, several rows a question; copies are looked for in contexts."""

import hashlib
import json
import shutil
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlpipe.config import ConfigError
from tlpipe.data import tokens
from tlpipe.data.asked import write_answers
from tlpipe.data.duplicates import Rejected, reject
from tlpipe.data.packed import Split
from tlpipe.data.read_texts import tokenizer_of, write_texts
from tlpipe.data.reader import Intake, Pairs
from tlpipe.data.shingles import content_hash, near_texts, shingles
from tlpipe.data.squad import Question, Squad
from tlpipe.preprocess.questions import Passage, Questions, commonest
from tlpipe.preprocess.text import TOKENIZER

Span = tuple[int, int] | None


class QuestionReader:
    """The `Reader` of questions. Rows of a split are in order of the length of their contexts."""

    columns = ("sha256", "tokens", "windows", "cut")
    classes = ("start", "end")
    """The network's outputs for each token."""

    def __init__(self, intake: Intake) -> None:
        source, samples = intake.data.source, intake.samples
        if not isinstance(source, Squad):
            raise ConfigError(f"data.source.kind: {source.kind} holds no questions with answers in their contexts")
        self.tokenizer = tokenizer_of(intake)
        self.questions: list[Question] = [source.question(sample.id) for sample in samples]
        self.rejected: dict[int, Rejected] = {
            index: reject(samples[index], *fault)
            for index, question in enumerate(self.questions)
            if (fault := question.fault())
        }
        used = [index for index in range(len(samples)) if index not in self.rejected]
        pairs = [(self.questions[index].question, self.questions[index].context) for index in used]
        passages = Questions(self.tokenizer, intake.preprocess)(pairs)
        self.passages: dict[int, Passage] = {}
        self.spans: dict[int, Span] = {}
        for index, passage in zip(used, intake.track(passages, "tokenizing", len(used), "questions"), strict=True):
            self.passages[index], question = passage, self.questions[index]
            span = passage.tokens(*commonest(question.answers)) if question.answers else None
            if not len(passage.places):
                self.rejected[index] = reject(samples[index], "empty", "the tokenizer leaves nothing of the context")
            elif question.answers and span is None:
                detail = f"the tokenizer leaves nothing of the answer {commonest(question.answers)[1]!r}"
                self.rejected[index] = reject(samples[index], "answer_without_tokens", detail)
            self.spans[index] = span
        self.content = {
            index: content_hash((self.questions[index].question, self.questions[index].context))
            for index in used
            if index not in self.rejected
        }

    def truth(self, index: int) -> str:
        """The answer that is trained on, wherever in the context it stands."""
        answers = self.questions[index].answers
        return repr(commonest(answers)[1]) if answers else "no answer"

    def near(self, among: set[int], threshold: float) -> Pairs:
        """Questions of near duplicate contexts; two questions about one context are no copies of each other.

        Contexts are compared by the Jaccard similarity of their character 5-grams (tlpipe.data.shingles).
        """
        about: dict[str, list[int]] = defaultdict(list)
        for index in sorted(among):
            about[self.questions[index].context].append(index)
        groups = list(about.values())
        alike = near_texts({n: shingles((context,)) for n, context in enumerate(about)}, threshold)
        found: Pairs = {}
        for (first, second), value in alike.items():
            one, other = groups[first], groups[second]
            # a chain is enough: each is linked with the other context's first question
            for pair in [*((index, other[0]) for index in one), *((one[0], index) for index in other)]:
                found[min(pair), max(pair)] = value
        return dict(sorted(found.items()))

    def place(self, index: int) -> int:
        """Tokens of the context, by which questions about one context stay together."""
        return len(self.passages[index].places)

    def parts(self, index: int) -> int:
        """Windows."""
        return len(self.passages[index].windows)

    def describe(self, index: int) -> tuple[object, ...]:
        """Hash of the raw question with its answers, tokens of the context, windows, whether the question was cut."""
        question, passage = self.questions[index], self.passages[index]
        raw = json.dumps([question.question, question.context, question.answers], ensure_ascii=False)
        digest = hashlib.sha256(raw.encode("utf-8", "replace")).hexdigest()
        return digest, len(passage.places), len(passage.windows), int(passage.cut)

    def labels(self, samples: Sequence[int]) -> NDArray[np.int64]:
        """Of every token, see `Passage.labels`."""
        return np.concatenate([row for index in samples for row in self.passages[index].labels(self.spans[index])])

    def write(self, folder: Path, samples: Sequence[int]) -> None:
        """The flat arrays, the tokenizer that made them, the raw questions with contexts, and the right answers."""
        rows = [window for index in samples for window in self.passages[index].windows]
        tokens.write(folder, [(window.ids, window.types) for window in rows])
        shutil.copyfile(self.tokenizer, folder / TOKENIZER)
        write_texts(folder, [(self.questions[index].question, self.questions[index].context) for index in samples])
        write_answers(folder, [self.questions[index].texts for index in samples])

    def report(self, samples: Mapping[int, Split]) -> dict[str, Any]:
        """Lengths of contexts in tokens, windows, and answers of the train split that no window holds whole."""
        lengths = [len(self.passages[index].places) for index in samples]
        lost = [index for index, split in samples.items() if split == "train" and self._lost(index)]
        return {
            "questions": {
                "contexts": len({self.questions[index].context for index in samples}),
                "tokens": {"min": min(lengths), "median": median(lengths), "max": max(lengths)},
                "windows": sum(len(self.passages[index].windows) for index in samples),
                "cut": sum(self.passages[index].cut for index in samples),
                "in_no_window": len(lost),
            }
        }

    def _lost(self, index: int) -> bool:
        span = self.spans[index]
        windows = self.passages[index].windows
        return span is not None and not any(each.low <= span[0] and span[1] < each.high for each in windows)
