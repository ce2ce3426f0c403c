"""A small bundle of each task that reads texts, with random weights: for tests of what is done with any bundle."""

from pathlib import Path

from tests import asked, tagged
from tests.untrained import make_about, make_noisy, make_text_bundle
from tlpipe.backbones.bert import Bert, Size
from tlpipe.data.corpus import train_wordpiece
from tlpipe.export.text_parity import HeldOutTexts
from tlpipe.tasks.question_answering.export import HeldOutQuestions
from tlpipe.tasks.token_classification.export import HeldOutWords
from tlpipe.tasks.union import TextClassification

TASKS = ("text_classification", "token_classification", "question_answering")
TEXTS = ["a fine film", "bad", "so so, but long enough to be more than the rest"]
READER = Bert(corpus=("x",), size=Size(layers=2, width=16, heads=2, vocabulary=100), max_length=24)


def make_bundle_of(task: str, folder: Path) -> Path:
    """A bundle of this task below `folder`, which passed its gate."""
    return {"text_classification": _texts, "token_classification": _words, "question_answering": _questions}[task](
        folder
    )


def _texts(folder: Path) -> Path:
    about = make_about(
        task=TextClassification(), backbone=READER, preprocess=READER.preprocess(), labels=("neg", "pos")
    )
    train_wordpiece(TEXTS * 3, 100, True, folder / "tokenizer.json")
    held = HeldOutTexts([(text,) for text in TEXTS], folder / "tokenizer.json")
    return make_text_bundle(folder, make_noisy(about), about, held)


def _words(folder: Path) -> Path:
    held = HeldOutWords(
        [[word for word, _ in tagged.sentence(seed)] for seed in range(1, 4)],
        tagged.write_tokenizer(folder) / "tokenizer.json",
    )
    return make_text_bundle(folder, make_noisy(tagged.ABOUT), tagged.ABOUT, held)


def _questions(folder: Path) -> Path:
    about = make_about(
        task=asked.TASK, backbone=asked.BACKBONE, preprocess=asked.PREPROCESS, labels=("start", "end"),
        fitted={"no_answer_threshold": 0.3},
    )  # fmt: skip
    held = HeldOutQuestions(
        [("which?", asked.context(number)) for number in range(3)], asked.write_tokenizer(folder) / "tokenizer.json"
    )
    return make_text_bundle(folder, make_noisy(about), about, held)
