"""What a strategy has to beat: methods that need no pretrained network, on the same splits."""

import re
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlpipe.data.asked import Asked, asked
from tlpipe.data.packed import Packed, Split
from tlpipe.data.read_texts import read_texts
from tlpipe.evaluate.answers import AnswerPredictions
from tlpipe.evaluate.judged import JUDGED, Judged, intervals
from tlpipe.evaluate.tables import EVALUATED
from tlpipe.evaluate.tfidf import tf_idf

Probabilities = dict[Split, NDArray[np.float64]]
Method = Callable[[Packed], Judged]


def baselines(packed: Packed, resamples: int, seed: int) -> dict[str, Any]:
    """{name: {"validation": {metric: value}, "test": {metric: {"value", "low", "high"}}}}, empty for images.

    "validation" is of the labelled samples that the method had not seen: the validation split, or all out of fold.
    """
    found: dict[str, Any] = {}
    for name, method in METHODS[packed.preprocess.kind].items():
        judged = method(packed)
        unseen = judged.take([index for index, split in enumerate(judged.splits) if split != "test"])
        around = intervals([judged.of("test")], resamples, seed)
        found[name] = {
            "validation": unseen.measure(),
            "test": {metric: interval._asdict() for metric, interval in around.items()},
        }
    return found


def usual_tag(packed: Packed) -> Probabilities:
    """Each word's most frequent tag in the train split; of a word that is not there, the most frequent of all.

    Probabilities are the word's shares, with all words' shares as one more occurrence.
    """
    targets, classes = packed.targets, len(packed.classes)
    texts = iter(read_texts(packed.folder))
    words = [word for _ in dict.fromkeys(packed.sample_of.tolist()) for word in next(texts)]
    first, last = targets.range(*packed.ranges["train"])
    every = np.bincount(targets.marks[first:last], minlength=classes) / max(1, last - first)
    counts: dict[str, NDArray[np.float64]] = {}
    for word, tag in zip(words[first:last], targets.marks[first:last], strict=True):
        counts.setdefault(word, every.copy())[tag] += 1
    known = {word: each / each.sum() for word, each in counts.items()}
    said: Probabilities = {}
    for split in EVALUATED:
        low, high = targets.range(*packed.ranges[split])
        said[split] = np.array([known.get(word, every) for word in words[low:high]]).reshape(-1, classes)
    return said


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
    questions = {split: asked(packed, split) for split in EVALUATED}
    said = [say(each, weights) for part in questions.values() for each in part]
    return AnswerPredictions.of_texts(packed, questions, said, [float(not text) for text in said])


def words_of(text: str) -> set[str]:
    """The words of a text, in lower case."""
    return set(re.findall(r"\w+", text.lower()))


def _judged(method: Callable[[Packed], Probabilities]) -> Method:
    return lambda packed: JUDGED[packed.preprocess.kind].assemble(packed, method(packed))


METHODS: dict[str, dict[str, Method]] = {
    "image": {},
    "text": {"TF-IDF + logistic regression": _judged(tf_idf)},
    "words": {"most frequent tag of each word": _judged(usual_tag)},
    "questions": {"never an answer": never, "sentence that shares most words": likest_sentence},
}
"""By the kind of preprocessing, then by name."""
