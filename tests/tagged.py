"""Small tagged sentences for the tests of several rooms: files, their packed form, and a network for them."""

from pathlib import Path
from typing import Any

import numpy as np

from tests.untrained import make_about
from tlpipe.backbones.bert import Bert, Size
from tlpipe.config import parse
from tlpipe.data.corpus import train_wordpiece
from tlpipe.data.pack import pack
from tlpipe.data.packed import Packed
from tlpipe.data.spec import Data
from tlpipe.preprocess.words import WordPreprocess
from tlpipe.tasks.union import TokenClassification

PLACES, PEOPLE = ("Ulm", "New York", "Bad Tölz", "Rio"), ("Ada", "Kurt Gödel", "Emmy Noether", "Bo")
FILLERS = ("the", "bridge", "in", "was", "built", "by", "and", "ran", "of", ",", "unmistakably", "old")
PREPROCESS = WordPreprocess(max_length=20, stride=6)
TASK = TokenClassification(stride=6)
BACKBONE = Bert(
    corpus=("x",),
    size=Size(layers=2, width=16, heads=2, vocabulary=120, lowercase=False),
    max_length=20,
    pooling="none",
)
LABELS = ("B-per", "B-place", "I-per", "I-place", "O")
ABOUT = make_about(task=TASK, backbone=BACKBONE, preprocess=PREPROCESS, labels=LABELS)
Tagged = list[tuple[str, str]]


def sentence(seed: int, length: int = 0) -> Tagged:
    """Fillers with a place and a person in it; every fifth sentence has neither, some are longer than a window."""
    generator = np.random.default_rng(seed)
    length = length or int(generator.integers(4, 30))
    words: Tagged = [(str(word), "O") for word in generator.choice(FILLERS, length)]
    for kind, names in (("place", PLACES), ("per", PEOPLE)) if seed % 5 else ():
        parts = str(generator.choice(names)).split()
        at = int(generator.integers(0, len(words) + 1))
        words[at:at] = [(part, f"{'I' if number else 'B'}-{kind}") for number, part in enumerate(parts)]
    return words


def conll(sentences: list[Tagged]) -> str:
    return "\n".join("".join(f"{word}\t{tag}\n" for word, tag in each) for each in sentences)


def write_tokenizer(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    words = [*FILLERS, *" ".join((*PLACES, *PEOPLE)).split()]
    train_wordpiece([word for word in words if word != "unmistakably"] * 3, 120, False, folder / "tokenizer.json")
    return folder


def pack_tagged(folder: Path, **counts: int) -> Packed:
    """`folder/packed`, of so many sentences a split."""
    start, source = 0, folder / "source"
    source.mkdir(parents=True)
    for split, count in {"train": 24, "validation": 10, "test": 10, **counts}.items():
        (source / f"{split}.conll").write_text(conll([sentence(seed) for seed in range(start, start + count)]))
        start += count
    splits = {split: f"{split}.conll" for split in ("train", "validation", "test")}
    given: dict[str, Any] = {
        "source": {"kind": "conll", "path": str(source), "splits": splits},
        "split": {"validation": None, "test": None},
        "checks": {"near_duplicates": None},
    }
    pack(
        parse(given, Data, "data"),
        "token_classification",
        PREPROCESS,
        folder / "packed",
        tokenizer=write_tokenizer(folder / "tokenizer"),
    )
    return Packed.open(folder / "packed")
