"""The TF-IDF baseline: folds that cover every label once, and probabilities that no label of their own row reached."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tlpipe.evaluate import tfidf
from tlpipe.metrics import measure

Reader = Callable[[Any], Any]
RANGES = {"train": (0, 40), "validation": (40, 50), "test": (50, 90)}
WORDS = ("fine film splendid acting", "bad film dreadful acting")


@dataclass
class Packed:
    """As much of packed arrays as the baseline reads."""

    labels: np.ndarray
    ranges: dict[str, tuple[int, int]]
    texts: list[str]
    groups: tuple[str, ...] = ()
    folds: tuple[tuple[int, int], ...] = ()
    folder: Path = Path("nowhere")

    def __post_init__(self) -> None:
        self.groups = self.groups or ("",) * len(self.labels)
        self.ids = tuple(f"{row}.txt" for row in range(len(self.labels)))
        self.classes = tuple(map(str, range(self.labels.max() + 1)))
        self.labelled = self.ranges["test"][0]

    @property
    def pooled(self) -> "Packed":
        return replace(self, ranges={**self.ranges, "validation": (0, self.labelled)}) if self.folds else self

    def rows(self, split: str) -> np.ndarray:
        return np.arange(*self.ranges[split])


def made(labels: np.ndarray, ranges: dict[str, tuple[int, int]] = RANGES, **changes: Any) -> Packed:
    """Texts that say what they are labelled."""
    generator = np.random.default_rng(0)
    texts = [f"{WORDS[label % 2]} {' '.join(generator.choice(['of', 'it', 'we'], 4))}" for label in labels]
    return Packed(labels, ranges, **{"texts": texts, **changes})


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch):
    def use(packed: Packed) -> Packed:
        monkeypatch.setattr(tfidf, "read_texts", lambda _: [(text,) for text in packed.texts])
        return packed

    return use


def test_folds_hold_out_every_label_once_with_classes_alike_and_groups_whole():
    groups = tuple(f"patient {row // 2}" for row in range(90))
    packed = made(np.arange(90) // 2 % 2, groups=groups)
    folds = tfidf.held_out(packed)
    assert len(folds) == 5
    assert sorted(np.concatenate(folds)) == list(range(50))
    assert all(2 <= packed.labels[rows].sum() <= 8 for rows in folds)
    assert all(len({groups[row] for row in rows}) == len(rows) / 2 for rows in folds)


def test_folds_of_the_packed_arrays_are_used_where_there_are_any(read: Reader):
    ranges = {"train": (0, 50), "validation": (50, 50), "test": (50, 90)}
    packed = read(made(np.arange(90) % 2, ranges, folds=((0, 30), (30, 50))))
    assert [rows.tolist() for rows in tfidf.held_out(packed)] == [[*range(30)], [*range(30, 50)]]
    found = tfidf.tf_idf(packed)
    assert {split: len(each) for split, each in found.items()} == {"validation": 50, "test": 40}


def test_of_many_labels_the_validation_split_is_the_only_fold(monkeypatch: pytest.MonkeyPatch, read: Reader):
    monkeypatch.setattr(tfidf, "MOST_FOLDED", 49)
    packed = read(made(np.arange(90) % 2))
    assert [rows.tolist() for rows in tfidf.held_out(packed)] == [[*range(40, 50)]]
    assert set(tfidf.tf_idf(packed)) == {"validation", "test"}


def test_what_is_said_of_a_row_does_not_depend_on_its_label(read: Reader):
    """The folds stay, and a lie about one of fifty labels turns its own prediction only if it was learnt from."""
    packed = read(made(np.arange(90) % 2))
    found = tfidf.tf_idf(packed)
    assert set(found) == {"train", "validation", "test"}
    for split, probabilities in found.items():
        assert measure(packed.labels[packed.rows(split)], probabilities)["accuracy"] == 1
    labels = np.random.default_rng(1).permutation(np.arange(90) % 2)
    random = read(made(labels, texts=[f"word{row}" for row in range(90)]))
    held = np.concatenate([tfidf.tf_idf(random)[split] for split in ("train", "validation")])
    assert measure(random.labels[:50], held)["accuracy"] < 0.75, "texts that say nothing must not look learnable"


def test_a_class_of_one_sample_and_an_empty_validation_split_are_no_obstacle(read: Reader):
    labels = np.arange(90) % 2
    labels[7] = 2
    packed = read(made(labels, {"train": (0, 50), "validation": (50, 50), "test": (50, 90)}))
    found = tfidf.tf_idf(packed)
    assert set(found) == {"train", "test"}
    assert found["test"].shape == (40, 3)
    assert np.allclose(found["train"].sum(1), 1)
