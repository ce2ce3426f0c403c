"""Evaluation of question answering: answers judged as SQuAD's scripts do, and baselines without a network."""

import re
from collections import Counter
from collections.abc import Callable, Mapping

import numpy as np

from tlpipe.data.asked import Asked, asked
from tlpipe.data.packed import Packed
from tlpipe.evaluate.answers import AnswerPredictions
from tlpipe.evaluate.tables import EVALUATED

Predictions = AnswerPredictions


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


BASELINES = {"never an answer": never, "sentence that shares most words": likest_sentence}
