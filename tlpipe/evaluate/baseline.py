"""What a strategy has to beat: methods that need no pretrained network, on the same splits."""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlpipe.data.asked import Asked, asked
from tlpipe.data.packed import Packed, Split
from tlpipe.data.read_texts import read_texts
from tlpipe.evaluate.answers import AnswerPredictions
from tlpipe.evaluate.judged import JUDGED, Judged, intervals
from tlpipe.evaluate.tables import EVALUATED

Probabilities = dict[Split, NDArray[np.float64]]
Method = Callable[[Packed], Judged]


def baselines(packed: Packed, resamples: int, seed: int) -> dict[str, Any]:
    """{name: {"validation": {metric: value}, "test": {metric: {"value", "low", "high"}}}}, empty where there are none.

    "validation" is of the labelled samples that the method had not seen: the validation split, or all out of fold.
    """
    found: dict[str, Any] = {}
    for name, method in METHODS.get(packed.preprocess.kind, {}).items():
        judged = method(packed)
        unseen = judged.take([index for index, split in enumerate(judged.splits) if split != "test"])
        around = intervals([judged.of("test")], resamples, seed)
        found[name] = {
            "validation": unseen.measure(),
            "test": {metric: interval._asdict() for metric, interval in around.items()},
        }
    return found


def usual_tag(packed: Packed) -> Probabilities:
    """Each word's most frequent tag in the training sentences; of an unseen word, the most frequent of all.

    Probabilities are the word's shares, with all words' shares as one more occurrence. Held-out sentences are judged by
    what the others say, those of the test split by all that what ships is trained on.
    """
    texts = iter(read_texts(packed.folder))
    words = [word for _ in dict.fromkeys(packed.sample_of.tolist()) for word in next(texts)]
    held = [_tags(part, words, "validation") for part in packed.parts]
    return {"validation": np.concatenate(held), "test": _tags(packed.whole if packed.refit else packed, words, "test")}


def _tags(packed: Packed, words: Sequence[str], split: Split) -> NDArray[np.float64]:
    """Shares of the tags (W, C) of each word of a split, by the train split of this view."""
    classes, train = len(packed.classes), packed.marks("train")
    tags = packed.targets.marks[train]
    every = np.bincount(tags, minlength=classes) / max(1, len(train))
    counts: dict[str, NDArray[np.float64]] = {}
    for mark, tag in zip(train, tags, strict=True):
        counts.setdefault(words[mark], every.copy())[tag] += 1
    known = {word: each / each.sum() for word, each in counts.items()}
    return np.array([known.get(words[mark], every) for mark in packed.marks(split)]).reshape(-1, classes)


def never(packed: Packed) -> AnswerPredictions:
    """To every question that there is no answer."""
    return _answers(packed, lambda each, weights: "")


def likest_sentence(packed: Packed) -> AnswerPredictions:
    """To every question the whole sentence of its context that shares most words with it, rare ones counting more.

    A word's weight is the logarithm of contexts over those that have it, in the train split.
    """
    return _answers(packed, _likest)


def _likest(each: Asked, weights: Mapping[str, float]) -> str:
    asked_for, unseen = words_of(each.question), max(weights.values(), default=1.0)
    sentences = [part.strip() for part in re.split(r"(?<=[.!?])\s+", each.passage.context) if part.strip()]
    shared = [sum(weights.get(word, unseen) for word in asked_for & words_of(sentence)) for sentence in sentences]
    return sentences[int(np.argmax(shared))]


def _answers(packed: Packed, say: Callable[[Asked, Mapping[str, float]], str]) -> AnswerPredictions:
    contexts = {each.passage.context for each in asked(packed, "train")}
    seen = Counter(word for context in contexts for word in words_of(context))
    weights = {word: float(np.log(len(contexts) / count)) for word, count in seen.items()}
    questions = {split: asked(packed.pooled, split) for split in EVALUATED}
    said = [say(each, weights) for part in questions.values() for each in part]
    return AnswerPredictions.of_texts(packed, questions, said, [float(not text) for text in said])


def words_of(text: str) -> set[str]:
    """The words of a text, in lower case."""
    return set(re.findall(r"\w+", text.lower()))


def _judged(method: Callable[[Packed], Probabilities]) -> Method:
    return lambda packed: JUDGED[packed.preprocess.kind].assemble(packed.pooled, method(packed))


METHODS: dict[str, dict[str, Method]] = {
    "words": {"most frequent tag of each word": _judged(usual_tag)},
    "questions": {"never an answer": never, "sentence that shares most words": likest_sentence},
}
"""By the kind of preprocessing, then by name. Of texts with one label it is a strategy, `kind: tfidf`."""
