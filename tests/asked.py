"""Made questions about made contexts, and a small network that reads them: for tests of what learns from them."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from tlpipe.backbones.bert import Bert, Size
from tlpipe.data.corpus import train_wordpiece
from tlpipe.data.pack import pack
from tlpipe.data.packed import Packed
from tlpipe.data.spec import Checks, Data, SplitShares
from tlpipe.data.squad import Squad
from tlpipe.tasks.union import QuestionAnswering

TASK = QuestionAnswering(stride=4, longest_question=6, longest_answer=8)
BACKBONE = Bert(corpus=("x",), size=Size(layers=2, width=16, heads=2, vocabulary=100), max_length=24, pooling="none")
PREPROCESS = TASK.preprocess(BACKBONE.preprocess())
WORDS = ["river", "sea", "lake", "hill", "town", "road", "bridge", "tower", "field", "wood", "rain", "snow", "moon"]


def context(number: int) -> str:
    """A context like no other: words in an order of their own, some of them long enough for several windows."""
    generator = np.random.default_rng(number)
    return " ".join(f"{WORDS[at]}{number}" for at in generator.integers(len(WORDS), size=6 + 3 * (number % 4)))


def question(number: int, text: str, word: int | None) -> dict[str, Any]:
    parts = text.split(" ")
    start = len(" ".join(parts[:word])) + 1 if word else 0
    answers = [] if word is None else [{"answer_start": start, "text": parts[word]}]
    return {
        "id": f"q{number}-{word}",
        "question": f"{word} which?",
        "answers": answers,
        "is_impossible": word is None,
    }


def articles(count: int) -> list[dict[str, Any]]:
    made = []
    for number in range(count):
        text = context(number)
        qas = [question(number, text, word) for word in (None, 0, 3)]
        made.append({"title": f"t{number}", "paragraphs": [{"context": text, "qas": qas}]})
    return made


def data(root: Path, near: float | None = 0.8) -> Data:
    return Data(
        source=Squad(path=str(root), file="a.json"),
        split=SplitShares(folds=None, refit=False, validation=0.25, test=0.25),
        checks=Checks(near_duplicates=near),
    )


def write_tokenizer(folder: Path) -> Path:
    """A folder with a tokenizer.json that knows the words."""
    folder.mkdir(parents=True, exist_ok=True)
    train_wordpiece([context(number) for number in range(12)] + ["which 1?"], 100, True, folder / "tokenizer.json")
    return folder


def pack_asked(folder: Path, count: int = 12) -> Packed:
    """Three questions about each of `count` contexts, packed below `folder`; the last of them has no answer."""
    raw = folder / "raw"
    raw.mkdir(parents=True)
    (raw / "a.json").write_text(json.dumps({"data": articles(count)}))
    pack(
        data(raw), "question_answering", PREPROCESS, folder / "packed", tokenizer=write_tokenizer(folder / "tokenizer")
    )
    return Packed.open(folder / "packed")
